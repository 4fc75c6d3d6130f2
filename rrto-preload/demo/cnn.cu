// The kernels of the demo's convolutional network, as cnn.c launches them.
//
// cnn.ptx is this file compiled, and committed so that the demo needs no CUDA compiler:
//   nvcc -O3 -arch=compute_75 -ptx cnn.cu -o cnn.ptx
//
// Images are planes of rows: element (channel, y, x) is at (channel * size + y) * size + x.

// A camera frame, 8 bits a value and colours interleaved, becomes planes of floats around zero.
extern "C" __global__ void unpack(const unsigned char *frame, float *planes, int size) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= 3 * size * size) return;
    int channel = i / (size * size), pixel = i % (size * size);
    planes[i] = fmaf((float)frame[3 * pixel + channel], 1.0f / 64.0f, -2.0f);
}

// A 3x3 convolution with bias, padded with zeros; one thread an output, one grid plane a channel.
extern "C" __global__ void convolve(const float *in, const float *weights, const float *bias, float *out,
                                    int in_channels, int in_size, int stride, int rectify) {
    int out_size = in_size / stride, channel = blockIdx.y;
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= out_size * out_size) return;
    int y = i / out_size * stride, x = i % out_size * stride;
    float sum = bias[channel];
    for (int from = 0; from < in_channels; from++) {
        const float *plane = in + from * in_size * in_size;
        const float *kernel = weights + (channel * in_channels + from) * 9;
#pragma unroll
        for (int v = -1; v <= 1; v++) {
#pragma unroll
            for (int u = -1; u <= 1; u++) {
                bool inside = y + v >= 0 && y + v < in_size && x + u >= 0 && x + u < in_size;
                if (inside) sum = fmaf(plane[(y + v) * in_size + x + u], kernel[3 * (v + 1) + u + 1], sum);
            }
        }
    }
    out[channel * out_size * out_size + i] = rectify ? fmaxf(sum, 0.0f) : sum;
}

// The greatest of each 2x2 square.
extern "C" __global__ void max_pool(const float *in, float *out, int channels, int out_size) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= channels * out_size * out_size) return;
    int x = i % out_size, row = i / out_size;
    const float *corner = in + row * 4 * out_size + 2 * x;
    out[i] = fmaxf(fmaxf(corner[0], corner[1]), fmaxf(corner[2 * out_size], corner[2 * out_size + 1]));
}

// The end of a residual block: sum = max(sum + shortcut, 0).
extern "C" __global__ void add_and_rectify(float *sum, const float *shortcut, int count) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) sum[i] = fmaxf(sum[i] + shortcut[i], 0.0f);
}

// The mean of each channel; one thread a channel.
extern "C" __global__ void average_pool(const float *in, float *out, int channels, int pixels) {
    int channel = blockIdx.x * blockDim.x + threadIdx.x;
    if (channel >= channels) return;
    float sum = 0.0f;
    for (int i = 0; i < pixels; i++) sum += in[channel * pixels + i];
    out[channel] = sum / (float)pixels;
}

// A fully connected layer; one thread an output.
extern "C" __global__ void connect(const float *in, const float *weights, const float *bias, float *out, int in_count,
                                   int out_count) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= out_count) return;
    float sum = bias[i];
    for (int k = 0; k < in_count; k++) sum = fmaf(in[k], weights[i * in_count + k], sum);
    out[i] = sum;
}

// Softmax of at most 32 values in one warp.
extern "C" __global__ void softmax(const float *in, float *out, int count) {
    int lane = threadIdx.x;
    float value = lane < count ? in[lane] : -INFINITY, best = value;
    for (int step = 16; step > 0; step /= 2) best = fmaxf(best, __shfl_xor_sync(0xffffffffu, best, step));
    float weight = expf(value - best), sum = weight;
    for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
    if (lane < count) out[lane] = weight / sum;
}
