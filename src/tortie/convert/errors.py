"""What conversion refuses."""

from tortie.base.errors import TortieError


class ConversionError(TortieError):
    """A Kubernetes object, or a part of it, has no Calico form. The text names the field."""
