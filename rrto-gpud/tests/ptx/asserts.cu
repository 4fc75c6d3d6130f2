#include <assert.h>
#include <stdio.h>
extern "C" __global__ void check(int* x, int n) {
    int i = threadIdx.x;
    assert(x[i] < n);
    if (x[i] == 77) __trap();
    x[i]++;
}
