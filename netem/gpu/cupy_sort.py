#!/usr/bin/env python3
"""An ordinary CuPy program: matrix product and sort; prints a digest of the results."""

import hashlib
import json

import cupy
import numpy

random = numpy.random.default_rng(7)
a = cupy.asarray(random.standard_normal((512, 512), dtype=numpy.float32))
b = cupy.asarray(random.standard_normal((512, 512), dtype=numpy.float32))
product = cupy.asnumpy(a @ b)
ordered = cupy.asnumpy(cupy.sort(cupy.asarray(random.integers(0, 1 << 31, 1 << 20, dtype=numpy.int64))))
assert (numpy.diff(ordered) >= 0).all()
assert numpy.allclose(product, cupy.asnumpy(a) @ cupy.asnumpy(b), atol=1e-2)
print(json.dumps({"digests": [hashlib.sha256(x.tobytes()).hexdigest() for x in (product, ordered)]}))
