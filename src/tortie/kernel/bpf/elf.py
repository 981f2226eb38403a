"""What clang makes of a BPF program: sections of instructions, and where they name a map. Pure.

Only what our own files have is understood: 64 bits, one program a section, no calls between programs, no global data. A map
is a symbol that is not defined there; whoever loads the program says which descriptor it is.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from tortie.base.errors import TortieError

_MAGIC = b"\x7fELF\x02"
_BPF_MACHINE = 247
_FILE = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")  # name, type, flags, address, offset, size, link, info, alignment, entry size
_SYMBOL = struct.Struct("<IBBHQQ")  # name, info, other, section, value, size
_RELOCATION = struct.Struct("<QQ")
_SYMBOLS, _RELOCATIONS = 2, 9
_MAP_REFERENCE = 1  # R_BPF_64_64
_LOAD_MAP = 1  # BPF_PSEUDO_MAP_FD, as the source register of the load of 64 bits
_LOAD_64 = 0x18
_INSTRUCTION = 8


class ObjectError(TortieError):
    """The file is not one of our BPF programs."""


@dataclass(frozen=True, slots=True)
class Code:
    """One program: its instructions, and the offset of every load of a map, with the map's name."""

    instructions: bytes
    references: tuple[tuple[int, str], ...]

    def with_maps(self, descriptors: Mapping[str, int]) -> bytes:
        """The instructions with descriptors in place of names. Raises ObjectError for a map that is not given."""
        code = bytearray(self.instructions)
        for offset, name in self.references:
            if name not in descriptors:
                raise ObjectError(f"the BPF program wants a map {name!r} that is not known here")
            code[offset + 1] = (code[offset + 1] & 0x0F) | (_LOAD_MAP << 4)
            struct.pack_into("<I", code, offset + 4, descriptors[name])
        return bytes(code)


@dataclass(frozen=True, slots=True)
class BpfObject:
    """All programs of a file by their section's name, and the licence that they tell the kernel."""

    programs: Mapping[str, Code]
    terms: bytes


def parse(data: bytes) -> BpfObject:
    """Read a file. Raises ObjectError."""
    try:
        return _parse(data)
    except (struct.error, IndexError, ValueError) as error:
        raise ObjectError(f"not a BPF object file: {error}") from error


def _parse(data: bytes) -> BpfObject:
    if data[:5] != _MAGIC:
        raise ObjectError("not an ELF file of 64 bits")
    header = _FILE.unpack_from(data)
    if header[2] != _BPF_MACHINE:
        raise ObjectError("an ELF file, but not for BPF")
    start, size, count, names_index = header[6], header[11], header[12], header[13]
    sections = [_SECTION.unpack_from(data, start + index * size) for index in range(count)]
    contents = [b"" if each[1] == 8 else data[each[4] : each[4] + each[5]] for each in sections]  # 8: no bytes in the file
    names = [_text(contents[names_index], each[0]) for each in sections]
    references: dict[int, list[tuple[int, str]]] = {}
    for section, content in zip(sections, contents, strict=True):
        if section[1] == _RELOCATIONS:
            symbols = contents[section[6]]
            texts = contents[sections[section[6]][6]]
            references[section[7]] = [_reference(entry, symbols, texts) for entry in _RELOCATION.iter_unpack(content)]
    programs = {
        name: _code(name, contents[index], references.get(index, []))
        for index, name in enumerate(names)
        if name.startswith("tc/")
    }
    terms = next((content for name, content in zip(names, contents, strict=True) if name == "license"), b"")
    if not programs or not terms:
        raise ObjectError("no programs, or no licence, in the BPF object file")
    return BpfObject(programs, terms)


def _reference(entry: tuple[int, int], symbols: bytes, texts: bytes) -> tuple[int, str]:
    offset, info = entry
    name, _, _, section, _, _ = _SYMBOL.unpack_from(symbols, (info >> 32) * _SYMBOL.size)
    if info & 0xFFFFFFFF != _MAP_REFERENCE or section != 0:
        raise ObjectError(f"the BPF program refers to {_text(texts, name)!r}, which is not a map")
    return offset, _text(texts, name)


def _code(name: str, instructions: bytes, references: list[tuple[int, str]]) -> Code:
    for offset, wanted in references:
        if offset % _INSTRUCTION or instructions[offset] != _LOAD_64:
            raise ObjectError(f"{name}: map {wanted!r} is not loaded in the way that is understood")
    return Code(instructions, tuple(references))


def _text(table: bytes, offset: int) -> str:
    return table[offset : table.index(b"\0", offset)].decode()
