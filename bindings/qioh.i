/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* qioh.i: the flat ABI as every SWIG module sees it; run swig with -I for bindings/ and core/abi/.
 *
 * Owns nothing of a target language: typemaps come before it, in the module's own files.
 * ownership.i is derived from the header (tools/abi.py) and says which results are owned.
 */
%include <stdint.i>
%include "ownership.i"
%include "qioh-abi.h"
