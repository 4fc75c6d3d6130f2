// Device functions that are really called: scalars, structures, pointers to locals, recursion.
#include "check.cuh"

struct Point {
    float x, y;
    int turns;
};

__device__ __noinline__ int gcd(int a, int b) {
    while (b) {
        int rest = a % b;
        a = b, b = rest;
    }
    return a;
}

__device__ __noinline__ Point quarter_turn(Point point) { return {-point.y, point.x, point.turns + 1}; }

__device__ __noinline__ void sort_four(int *values) {
    for (int i = 1; i < 4; i++) {
        for (int j = i; j > 0 && values[j - 1] > values[j]; j--) {
            int held = values[j];
            values[j] = values[j - 1], values[j - 1] = held;
        }
    }
}

__device__ __noinline__ unsigned fibonacci(unsigned n) { return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2); }

__global__ void calls(const int *in, int *divisors, Point *points, int *sorted, unsigned *numbers, int count) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    divisors[i] = gcd(in[i], 360360);
    Point point = {(float)in[i], (float)i, 0};
    for (int turn = 0; turn < i % 5; turn++) point = quarter_turn(point);
    points[i] = point;
    int four[4];
    for (int j = 0; j < 4; j++) four[j] = in[(i + j) % count];
    sort_four(four);
    for (int j = 0; j < 4; j++) sorted[4 * i + j] = four[j];
    numbers[i] = fibonacci(i % 9);
}

int main() {
    Generator generator(7);
    const int count = 333;
    std::vector<int> in(count), want_divisors(count), want_sorted(4 * count);
    std::vector<unsigned> want_numbers(count);
    for (int &value : in) value = 1 + (int)(generator.next() % 1000000);
    Device<int> device_in(in), device_divisors(count), device_sorted(4 * count);
    Device<Point> device_points(count);
    Device<unsigned> device_numbers(count);
    calls<<<(count + 63) / 64, 64>>>(device_in.pointer, device_divisors.pointer, device_points.pointer,
                                     device_sorted.pointer, device_numbers.pointer, count);
    MUST(cudaGetLastError());

    const unsigned fibonacci_numbers[9] = {0, 1, 1, 2, 3, 5, 8, 13, 21};
    std::vector<Point> points = device_points.host();
    bool turned = true;
    for (int i = 0; i < count; i++) {
        int a = in[i], b = 360360;
        while (b) {
            int rest = a % b;
            a = b, b = rest;
        }
        want_divisors[i] = a;
        float x = (float)in[i], y = (float)i;
        for (int turn = 0; turn < i % 5; turn++) {
            float held = x;
            x = -y, y = held;
        }
        turned &= points[i].x == x && points[i].y == y && points[i].turns == i % 5;
        int *four = &want_sorted[4 * i];
        for (int j = 0; j < 4; j++) four[j] = in[(i + j) % count];
        for (int j = 1; j < 4; j++) {
            for (int k = j; k > 0 && four[k - 1] > four[k]; k--) std::swap(four[k], four[k - 1]);
        }
        want_numbers[i] = fibonacci_numbers[i % 9];
    }
    std::vector<int> divisors = device_divisors.host(), sorted = device_sorted.host();
    std::vector<unsigned> numbers = device_numbers.host();
    check("scalars in and out", same(divisors, want_divisors));
    check("a structure by value", turned);
    check("a pointer to a local array", same(sorted, want_sorted));
    check("recursion", same(numbers, want_numbers));
    record(divisors);
    record(points);
    record(sorted);
    record(numbers);
    return verdict();
}
