# SPDX-License-Identifier: LGPL-2.1-or-later
"""Conditions: what a channel is ready for."""

from __future__ import annotations

import enum

from . import _qio


class Cond(enum.IntFlag):
    """What a channel is ready for: IN to read, OUT to write, ERR and HUP when the other side is
    gone, NVAL in the last call of a watch after its channel was closed.  MORE is IN without what
    is read ahead: who got None from a readline() waits for it, because half a line is IN."""

    IN = _qio.QIOH_IN
    MORE = _qio.QIOH_MORE
    OUT = _qio.QIOH_OUT
    ERR = _qio.QIOH_ERR
    HUP = _qio.QIOH_HUP
    NVAL = _qio.QIOH_NVAL


IN = Cond.IN
MORE = Cond.MORE
OUT = Cond.OUT
ERR = Cond.ERR
HUP = Cond.HUP
NVAL = Cond.NVAL
