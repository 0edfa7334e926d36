"""Gradient flow encoding: an image's code is found by following the gradient of its own loss, with a decoder alone.

The paper's sections have a file each, as has what goes beyond them; torch is all it needs. Modules import from one
another and never from here.
"""

from gfe_core.accelerated import BarzilaiBorweinAMD, NesterovAMD, QuasiNewtonAMD
from gfe_core.adjoint import AdjointGradient, ApproximateGradient
from gfe_core.amd import AMD
from gfe_core.encoding import Encoding, Status
from gfe_core.fixed_grid import FixedGrid
from gfe_core.implicit import ImplicitGradient
from gfe_core.lbfgs import LBFGSAMD
from gfe_core.levenberg_marquardt import GaussNewtonBFGS, LevenbergMarquardt
from gfe_core.models import AutoEncoder, Decoder, Encoder
from gfe_core.nesterov import Nesterov
from gfe_core.objective import Objective, bce
from gfe_core.prior import Prior
from gfe_core.training import Recipe, Training, autoencoder_step, encode_all, encoding_step
from gfe_core.warm import WarmStart
from gfe_core.wrappers import Penalised

__all__ = [
    "AMD", "AdjointGradient", "ApproximateGradient", "AutoEncoder", "BarzilaiBorweinAMD", "Decoder", "Encoder",
    "Encoding", "FixedGrid", "GaussNewtonBFGS", "ImplicitGradient", "LBFGSAMD", "LevenbergMarquardt", "Nesterov",
    "NesterovAMD", "Objective", "Penalised", "Prior", "QuasiNewtonAMD", "Recipe", "Status", "Training", "WarmStart",
    "autoencoder_step", "bce", "encode_all", "encoding_step",
]  # fmt: skip
