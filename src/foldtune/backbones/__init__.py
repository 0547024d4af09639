"""Backbones: a model with its input transform, an example and an identity."""

from foldtune.backbones.backbone import Backbone as Backbone
from foldtune.backbones.backbone import Transform as Transform
from foldtune.backbones.loading import load_backbone as load_backbone
from foldtune.backbones.tuning import load as load
