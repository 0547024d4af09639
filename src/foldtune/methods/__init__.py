"""Parameter-efficient methods: one small file each, data and one function.

A new method is one file here and one line below.
"""

from foldtune.core.method import Method as Method
from foldtune.core.method import Stack as Stack
from foldtune.methods.adapter_plus import AdapterPlus as AdapterPlus
from foldtune.methods.adaptformer import AdaptFormer as AdaptFormer
from foldtune.methods.arc import ARC as ARC
from foldtune.methods.attentive import AttentiveProbe as AttentiveProbe
from foldtune.methods.bitfit import BitFit as BitFit
from foldtune.methods.catalogue import catalogue as catalogue
from foldtune.methods.catalogue import parse as parse
from foldtune.methods.catalogue import register as register
from foldtune.methods.consolidator import Consolidator as Consolidator
from foldtune.methods.conv_adapter import ConvAdapter as ConvAdapter
from foldtune.methods.convpass import Convpass as Convpass
from foldtune.methods.difffit import DiffFit as DiffFit
from foldtune.methods.dora import DoRA as DoRA
from foldtune.methods.fact import FacTTK as FacTTK
from foldtune.methods.fact import FacTTT as FacTTT
from foldtune.methods.full import Full as Full
from foldtune.methods.hf_peft.blocks import DeLoRA as DeLoRA
from foldtune.methods.hf_peft.blocks import GLoRA as GLoRA
from foldtune.methods.hf_peft.blocks import GraLoRA as GraLoRA
from foldtune.methods.hf_peft.blocks import MiSS as MiSS
from foldtune.methods.hf_peft.blocks import PEANuT as PEANuT
from foldtune.methods.hf_peft.by_name import Peft as Peft
from foldtune.methods.hf_peft.hadamard import HiRA as HiRA
from foldtune.methods.hf_peft.hadamard import LoHa as LoHa
from foldtune.methods.hf_peft.hadamard import LoKr as LoKr
from foldtune.methods.hf_peft.orthogonal import BOFT as BOFT
from foldtune.methods.hf_peft.orthogonal import HRA as HRA
from foldtune.methods.hf_peft.orthogonal import OFT as OFT
from foldtune.methods.hf_peft.orthogonal import RoAd as RoAd
from foldtune.methods.hf_peft.shared import RandLoRA as RandLoRA
from foldtune.methods.hf_peft.shared import UniLoRA as UniLoRA
from foldtune.methods.hf_peft.shared import VBLoRA as VBLoRA
from foldtune.methods.hf_peft.shared import VeRA as VeRA
from foldtune.methods.hf_peft.sparse import SHiRA as SHiRA
from foldtune.methods.hf_peft.sparse import SuperTuning as SuperTuning
from foldtune.methods.hf_peft.spectral import C3A as C3A
from foldtune.methods.hf_peft.spectral import FourierFT as FourierFT
from foldtune.methods.hf_peft.spectral import WaveFT as WaveFT
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
