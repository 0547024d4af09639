"""Adapters of other libraries, read and written."""

from foldtune.interop.peft_folder import read_adapter as read_adapter
from foldtune.interop.peft_read import from_peft as from_peft
from foldtune.interop.peft_write import to_peft as to_peft
