"""DeepFloyd's safety checker as the transformers of today can load it.

diffusers' class does not say `post_init` at its end (diffusers 0.42), without which transformers 5 refuses to
load weights into it.
"""

from typing import Any

from sfumato.models.pretrained.loading import import_library

_Base: Any = import_library("diffusers.pipelines.deepfloyd_if.safety_checker").IFSafetyChecker


class IFSafetyChecker(_Base):  # type: ignore[misc]
    """diffusers' class, ready to be loaded."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.post_init()
