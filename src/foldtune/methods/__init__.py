"""Parameter-efficient methods: one small file each, data and one function.

A new method is one file here and one line below.
"""

from foldtune.core.method import Method as Method
from foldtune.core.method import Stack as Stack
from foldtune.methods.adapter_plus import AdapterPlus as AdapterPlus
from foldtune.methods.adaptformer import AdaptFormer as AdaptFormer
from foldtune.methods.arc import ARC as ARC
from foldtune.methods.bitfit import BitFit as BitFit
from foldtune.methods.catalogue import catalogue as catalogue
from foldtune.methods.catalogue import parse as parse
from foldtune.methods.consolidator import Consolidator as Consolidator
from foldtune.methods.conv_adapter import ConvAdapter as ConvAdapter
from foldtune.methods.convpass import Convpass as Convpass
from foldtune.methods.difffit import DiffFit as DiffFit
from foldtune.methods.dora import DoRA as DoRA
from foldtune.methods.fact import FacTTK as FacTTK
from foldtune.methods.fact import FacTTT as FacTTT
from foldtune.methods.full import Full as Full
from foldtune.methods.houlsby import Houlsby as Houlsby
from foldtune.methods.ia3 import IA3 as IA3
from foldtune.methods.last_blocks import LastBlocks as LastBlocks
from foldtune.methods.layernorm import LayerNorm as LayerNorm
from foldtune.methods.linear_probe import LinearProbe as LinearProbe
from foldtune.methods.lora import LoRA as LoRA
from foldtune.methods.pfeiffer import Pfeiffer as Pfeiffer
from foldtune.methods.repadapter import RepAdapter as RepAdapter
from foldtune.methods.ssf import SSF as SSF
from foldtune.methods.stem import Stem as Stem
from foldtune.methods.vpt import VPTDeep as VPTDeep
from foldtune.methods.vpt import VPTShallow as VPTShallow
