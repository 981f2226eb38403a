"""What a run has compared so far; printed at its end (conftest)."""

from dataclasses import dataclass


@dataclass
class Tally:
    """Counts of one process."""

    clusters: int = 0
    packets: int = 0
    disagreements: int = 0
    kernel_packets: int = 0
    kernel_seconds: float = 0.0
    """In which the kernel judged its packets, programming, emptying conntrack and all."""

    def __str__(self) -> str:
        text = f"{self.clusters} clusters, {self.packets} packets, {self.disagreements} disagreements"
        if self.kernel_packets:
            rate = self.kernel_packets / max(self.kernel_seconds, 1e-9)
            text += f"; the kernel judged {self.kernel_packets} in {self.kernel_seconds:.1f} s, {rate:.0f} a second"
        return text


TALLY = Tally()
