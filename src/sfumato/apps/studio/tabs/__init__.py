"""The tabs of the page, a file each: every tab says which recipes its inputs mean."""

from sfumato.apps.studio.tabs.digits import digits
from sfumato.apps.studio.tabs.edit import edit
from sfumato.apps.studio.tabs.generate import generate
from sfumato.apps.studio.tabs.illusions import illusions
from sfumato.apps.studio.tabs.understand import understand

__all__ = ["digits", "edit", "generate", "illusions", "understand"]
