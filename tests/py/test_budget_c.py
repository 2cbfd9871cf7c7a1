# SPDX-License-Identifier: LGPL-2.1-or-later
"""Instruction budgets of the C paths: what one operation costs, counted, never timed.

The counts are user-space instructions under callgrind, the libc wrappers of the system calls
included, and repeat to the digit.  They were set about a tenth above what was measured; who goes
over one looks for what was added to the path, and raises it only with a reason in the commit.
"""

import os
import re
import subprocess

import pytest

BUILD = os.path.join(os.path.dirname(__file__), '../..', os.environ.get('QIO_BUILD', 'build'))
PROGRAM = os.path.join(BUILD, 'tests/c/budget')
FEW, MANY = 1000, 3000


def instructions(case, n):
    out = subprocess.run(['valgrind', '--tool=callgrind', '--callgrind-out-file=/dev/null',
                          PROGRAM, case, str(n)], check=True, stderr=subprocess.PIPE, text=True,
                         timeout=50).stderr
    return int(re.search(r'Collected : (\d+)', out)[1])


@pytest.mark.needs('valgrind')
@pytest.mark.parametrize('case, budget', [
    ('pair', 190),
    ('abi', 405),
    ('ws', 2310),
    ('wait', 219),
    ('handle', 92),
    ('custom', 395),
    ('queue', 1960),
])
def test_one_operation_stays_within_its_budget(case, budget):
    each = (instructions(case, MANY) - instructions(case, FEW)) / (MANY - FEW)
    print(f'{case}: {each:.0f} instructions, budget {budget}')
    assert each <= budget
