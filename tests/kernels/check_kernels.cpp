// The exported kernels on small shapes against plain loops in double precision, without Python: for processors that this
// machine is not (CONTRIBUTING.md has the command). Prints one line a group; returns 1 where anything deviates.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <initializer_list>
#include <type_traits>
#include <vector>

using std::vector;

extern "C" {
int wirings_vector_bytes();
int wirings_processor_level();
int wirings_has_threads();
int64_t wirings_compress(int64_t, const int64_t*, int64_t, int64_t, int64_t, int64_t*, void*);
int wirings_transpose(int64_t, int64_t, int64_t, const int64_t*, const void*, int64_t, int64_t, int64_t*, void*, void*);
int wirings_conv_transpose(int64_t, int64_t, int64_t, const int64_t*, const void*, int64_t, int64_t, int64_t, int64_t, int64_t,
                           int64_t, int64_t*, void*, void*);
int wirings_forward(int64_t, int64_t, const int64_t*, const void*, const void*, const void*, int64_t, const void*, void*, int64_t,
                    int64_t, int64_t, int64_t, int64_t);
int wirings_forward_panels(int64_t, int64_t, const int64_t*, const void*, const void*, const void*, int64_t, const void*, void*,
                           int64_t, int64_t, int64_t, int64_t, int64_t);
int wirings_gather(int64_t, int64_t, const int64_t*, const void*, const void*, const void*, int64_t, const void*, void*, int64_t,
                   int64_t, int64_t, int64_t);
int wirings_backward(int64_t, int64_t, int64_t, const int64_t*, const void*, const void*, const void*, const void*, const void*,
                     const void*, void*, void*, void*, int64_t, int64_t, int64_t, int64_t, int64_t);
int wirings_sddmm(int64_t, int64_t, const int64_t*, const void*, const void*, const void*, const void*, void*, void*, int64_t,
                  int64_t, int64_t, int64_t, int64_t);
int wirings_pack(int64_t, const void*, void*, int64_t, int64_t, int64_t, int64_t);
int wirings_unpack(int64_t, const void*, void*, int64_t, int64_t, int64_t, int64_t);
int wirings_conv_forward(int64_t, int64_t, const int64_t*, const int64_t*, const void*, const void*, const void*, int64_t, int64_t,
                         const void*, void*, int64_t);
int wirings_conv_few(int64_t real, int64_t narrow, const int64_t* geometry, const int64_t* pointer, const void* column, const void* value,
                     const void* bias, int64_t relu, const void* x, void* y, int64_t batch, int64_t channels_last, int64_t threads);
int wirings_conv_input_onto(int64_t, int64_t, int64_t, int64_t, const int64_t*, const int64_t*, const void*, const void*,
                            const void*, const void*, const void*, const void*, int64_t, void*, int64_t);
int wirings_conv_weight(int64_t, int64_t, const int64_t*, const int64_t*, const void*, const void*, const void*, int64_t, void*,
                        int64_t);
int wirings_to_planes(int64_t, const void*, void*, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t);
int wirings_from_planes(int64_t, const void*, void*, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t);
int wirings_norm_forward(int64_t, const void*, const void*, const void*, const void*, void*, void*, int64_t, double, int64_t, void*,
                         int64_t, int64_t, int64_t, int64_t, int64_t, int64_t);
int wirings_norm_gradients(int64_t, const void*, const void*, const void*, const void*, const void*, const void*, const void*,
                           int64_t, int64_t, double, void*, void*, void*, void*, int64_t, int64_t, int64_t, int64_t, int64_t,
                           int64_t);
int wirings_top_mask(int64_t, const void*, int64_t, int64_t, int64_t, uint8_t*, int64_t);
int wirings_pool_forward(int64_t, const int64_t*, const void*, void*, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t,
                         int64_t);
int wirings_pool_gradient(int64_t, const int64_t*, const void*, const void*, void*, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t,
                          int64_t, int64_t, int64_t);
int wirings_top_index(int64_t, const void*, int64_t, int64_t, int64_t, int64_t*, int64_t);
int64_t wirings_collect(int64_t, const void*, int64_t, int64_t, double, const int64_t*, int64_t, void*, int64_t*, int64_t);
}

namespace {

using Doubles = vector<double>;
int64_t checks = 0, failures = 0, told_of = 0;

void expect(bool holds, const char* what) {
    checks++;
    if (holds) return;
    failures++;
    if (failures <= 20) std::printf("wrong: %s\n", what);
}

// bfloat16 as the kernels store it, which they compute with in float.
struct bf16 {
    uint16_t bits = 0;

    bf16() = default;
    explicit bf16(double x) {
        const float narrow = float(x);
        uint32_t wide;
        std::memcpy(&wide, &narrow, sizeof wide);
        bits = uint16_t((wide + 0x7fff + (wide >> 16 & 1)) >> 16);
    }
    operator double() const {
        const uint32_t wide = uint32_t(bits) << 16;
        float x;
        std::memcpy(&x, &wide, sizeof x);
        return double(x);
    }
};
template <class T>
using Wide = std::conditional_t<std::is_same_v<T, bf16>, float, T>;
template <class T>
constexpr double ROUNDING = std::is_same_v<T, bf16> ? 4e-3 : std::is_same_v<T, float> ? 3e-6 : 1e-13;
template <class T>
constexpr const char* NAME = std::is_same_v<T, bf16> ? "bfloat16" : std::is_same_v<T, float> ? "float32" : "float64";

// Every element within a few roundings of the exact one, relative to the largest.
template <class T>
void near(const vector<T>& found, const Doubles& exact, const char* what) {
    double largest = 1e-3, off = 0;
    for (double e : exact) largest = std::max(largest, std::fabs(e));
    bool fine = found.size() == exact.size();
    for (size_t i = 0; fine && i < exact.size(); i++) {
        double d = std::fabs(double(found[i]) - exact[i]);
        if (!(d >= 0)) d = INFINITY;
        off = std::max(off, d);
    }
    expect(fine && off <= largest * ROUNDING<T>, what);
}

// Numbers in (-1, 1), the same everywhere.
uint64_t state = 1;
double next() {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return double(int64_t(state >> 11)) / double(int64_t(1) << 52) - 1.0;
}
template <class T>
vector<T> numbers(int64_t n) {
    vector<T> found(n);
    for (T& x : found) x = T(next());
    return found;
}
vector<int64_t> places(int64_t positions, double density) {
    vector<int64_t> found;
    for (int64_t i = 0; i < positions; i++) {
        if (next() * 0.5 + 0.5 < density) found.push_back(i);
    }
    return found;
}

template <class T, class C>
struct Weight {
    int64_t rows, columns;
    vector<int64_t> flat, pointer;
    vector<C> column;
    vector<T> value;

    Weight(int64_t rows, int64_t columns, double density)
        : rows(rows), columns(columns), flat(places(rows * columns, density)), pointer(rows + 1), column(flat.size()),
          value(numbers<T>(nnz())) {
        expect(wirings_compress(sizeof(C), flat.data(), nnz(), rows, columns, pointer.data(), column.data()) == 0, "compress");
        vector<int64_t> count(rows + 1);
        bool same = true;
        for (int64_t k = 0; k < nnz(); k++) {
            count[flat[k] / columns + 1]++;
            same = same && int64_t(column[k]) == flat[k] % columns;
        }
        for (int64_t r = 0; r < rows; r++) count[r + 1] += count[r];
        expect(same && count == pointer, "compressed rows");
    }
    int64_t nnz() const { return int64_t(flat.size()); }
};

template <class T>
constexpr int64_t real = sizeof(T);

template <class T, class C>
void check_linear(int64_t rows, int64_t columns, int64_t batch, double density, bool relu, int64_t width, int64_t threads) {
    const Weight<T, C> w(rows, columns, density);
    const vector<T> x = numbers<T>(batch * columns), grad = numbers<T>(batch * rows), bias = numbers<T>(rows);
    Doubles y(batch * rows), gx(batch * columns), gw(w.nnz()), gb(rows);
    for (int64_t b = 0; b < batch; b++) {
        for (int64_t r = 0; r < rows; r++) {
            double sum = bias[r];
            for (int64_t k = w.pointer[r]; k < w.pointer[r + 1]; k++) sum += double(w.value[k]) * double(x[b * columns + w.column[k]]);
            y[b * rows + r] = relu && sum < 0 ? 0 : sum;
        }
    }
    vector<T> found(batch * rows);
    wirings_forward(real<T>, sizeof(C), w.pointer.data(), w.column.data(), w.value.data(), bias.data(), relu, x.data(), found.data(),
                    batch, rows, columns, width, threads);
    near(found, y, "linear forward");
    if (batch <= 2) {
        vector<T> gathered(batch * rows);
        wirings_gather(real<T>, sizeof(C), w.pointer.data(), w.column.data(), w.value.data(), bias.data(), relu, x.data(),
                       gathered.data(), batch, rows, columns, threads);
        near(gathered, y, "linear forward, gathered");
    }
    const int64_t panels = (batch + width - 1) / width;
    vector<T> in(panels * columns * width), out(panels * rows * width), back(batch * rows);
    wirings_pack(real<T>, x.data(), in.data(), batch, columns, width, threads);
    wirings_forward_panels(real<T>, sizeof(C), w.pointer.data(), w.column.data(), w.value.data(), bias.data(), relu, in.data(),
                           out.data(), panels, rows, columns, width, threads);
    wirings_unpack(real<T>, out.data(), back.data(), batch, rows, width, threads);
    near(back, y, "linear forward in panels");

    for (int64_t b = 0; b < batch; b++) {
        for (int64_t r = 0; r < rows; r++) {
            double g = !relu || found[b * rows + r] > 0 ? double(grad[b * rows + r]) : 0;
            gb[r] += g;
            for (int64_t k = w.pointer[r]; k < w.pointer[r + 1]; k++) {
                gw[k] += g * double(x[b * columns + w.column[k]]);
                gx[b * columns + w.column[k]] += g * double(w.value[k]);
            }
        }
    }
    vector<int64_t> pointer(columns + 1);
    vector<C> row(w.nnz());
    vector<int32_t> place(w.nnz());
    wirings_transpose(sizeof(C), sizeof(C), 4, w.pointer.data(), w.column.data(), rows, columns, pointer.data(), row.data(), place.data());
    vector<T> found_x(batch * columns);
    vector<Wide<T>> found_w(w.nnz()), found_b(rows), other_w(w.nnz()), other_b(rows);
    const T* output = relu ? found.data() : nullptr;
    wirings_backward(real<T>, sizeof(C), 4, pointer.data(), row.data(), place.data(), w.value.data(), x.data(), grad.data(), output,
                     found_x.data(), found_w.data(), found_b.data(), batch, rows, columns, width, threads);
    near(found_x, gx, "linear backward, input");
    near(found_w, gw, "linear backward, connections");
    near(found_b, gb, "linear backward, bias");
    wirings_sddmm(real<T>, sizeof(C), w.pointer.data(), w.column.data(), grad.data(), x.data(), output, other_w.data(), other_b.data(),
                  batch, rows, columns, width, threads);
    near(other_w, gw, "weight gradient alone");
    near(other_b, gb, "weight gradient alone, bias");
}

struct Images {
    int64_t batch, channels, height, width, halo;

    int64_t count() const { return batch * channels * height * width; }
    int64_t at(int64_t b, int64_t c, int64_t y, int64_t x) const { return ((b * channels + c) * height + y) * width + x; }
    bool inside(int64_t y, int64_t x) const { return y >= 0 && y < height && x >= 0 && x < width; }
    template <class T>
    static constexpr int64_t lanes = std::is_same_v<T, bf16> ? 32 : 16;
    template <class T>
    int64_t panels() const {
        return (batch + lanes<T> - 1) / lanes<T>;
    }
    template <class T>
    int64_t elements() const {
        return panels<T>() * channels * (height + 2 * halo) * (width + 2 * halo) * lanes<T>;
    }
    template <class T>
    vector<T> planes(const vector<T>& plain) const {
        vector<T> found(elements<T>(), T(7));
        wirings_to_planes(real<T>, plain.data(), found.data(), batch, channels, height, width, halo, 0, 1);
        return found;
    }
    template <class T>
    vector<T> plain(const vector<T>& planes) const {
        vector<T> found(count());
        wirings_from_planes(real<T>, planes.data(), found.data(), batch, channels, height, width, halo, 0, 1);
        return found;
    }
};

template <class T>
void check_conv(int64_t batch, int64_t in_channels, int64_t out_channels, int64_t groups, int64_t kernel, int64_t stride, int64_t padding,
                int64_t side, double density, bool relu, int64_t threads) {
    using C = uint16_t;
    const int64_t taps = kernel * kernel, group_in = in_channels / groups, group_out = out_channels / groups;
    const int64_t out_side = (side + 2 * padding - kernel) / stride + 1;
    const Weight<T, C> w(out_channels, group_in * taps, density);
    const Images in{batch, in_channels, side, side, padding}, out{batch, out_channels, out_side, out_side, kernel};
    const vector<T> x = numbers<T>(in.count()), grad = numbers<T>(out.count()), bias = numbers<T>(out_channels);
    expect(in.plain(in.planes(x)) == x, "planes and back");
    // product(connection, place in the output, place in the input) for every product there is
    auto each = [&](auto&& product) {
        for (int64_t b = 0; b < batch; b++) {
            for (int64_t r = 0; r < out_channels; r++) {
                for (int64_t k = w.pointer[r]; k < w.pointer[r + 1]; k++) {
                    int64_t tap = w.column[k] % taps, channel = r / group_out * group_in + w.column[k] / taps;
                    for (int64_t i = 0; i < out_side * out_side; i++) {
                        int64_t v = i / out_side * stride + tap / kernel - padding, h = i % out_side * stride + tap % kernel - padding;
                        if (in.inside(v, h)) product(k, out.at(b, r, i / out_side, i % out_side), in.at(b, channel, v, h));
                    }
                }
            }
        }
    };
    Doubles y(out.count()), gx(in.count()), gw(w.nnz());
    for (int64_t i = 0; i < out.count(); i++) y[i] = bias[i / (out_side * out_side) % out_channels];
    each([&](int64_t k, int64_t to, int64_t from) { y[to] += double(w.value[k]) * double(x[from]); });
    if (relu) {
        for (double& v : y) v = std::max(v, 0.0);
    }
    each([&](int64_t k, int64_t to, int64_t from) {
        gx[from] += double(w.value[k]) * double(grad[to]);
        gw[k] += double(x[from]) * double(grad[to]);
    });
    const int64_t geometry[] = {in.panels<T>(), in_channels, out_channels, groups, kernel, kernel, stride, padding, side, side, in.halo,
                                out_side, out_side, out.halo, 32 * 1024, 64 * 1024};
    const vector<T> planes = in.planes(x), back = out.planes(grad);
    const vector<T> onto = numbers<T>(in.count()), first = in.planes(onto);
    vector<int64_t> pointer(in_channels * stride * stride + 1);
    vector<uint16_t> row(w.nnz());
    vector<int32_t> place(w.nnz());
    wirings_conv_transpose(sizeof(C), 2, 4, w.pointer.data(), w.column.data(), out_channels, in_channels, groups, kernel, kernel, stride,
                           pointer.data(), row.data(), place.data());
    if constexpr (!std::is_same_v<T, bf16>) {
        vector<T> flat(out.count(), T(7));
        wirings_conv_few(real<T>, sizeof(C), geometry, w.pointer.data(), w.column.data(), w.value.data(), bias.data(), relu, x.data(),
                         flat.data(), batch, 0, threads);
        near(flat, y, "convolution of a few images");
    }
    const int64_t routes = groups > 1 ? 1 : kernel == 3 && stride == 1 ? 3 : 2;
    for (int64_t how = 0; how < routes; how++) {
        vector<T> made(out.elements<T>(), T(7)), made_x(in.elements<T>(), T(7));
        vector<Wide<T>> made_w(w.nnz());
        wirings_conv_forward(real<T>, sizeof(C), geometry, w.pointer.data(), w.column.data(), w.value.data(), bias.data(), relu, how,
                             planes.data(), made.data(), threads);
        near(out.plain(made), y, "convolution forward");
        wirings_conv_weight(real<T>, sizeof(C), geometry, w.pointer.data(), w.column.data(), planes.data(), back.data(), how,
                            made_w.data(), threads);
        near(made_w, gw, "convolution, weight gradient");
        for (bool added : {false, true}) {
            wirings_conv_input_onto(real<T>, sizeof(C), 2, 4, geometry, pointer.data(), row.data(), place.data(), w.column.data(),
                                    w.value.data(), back.data(), added ? first.data() : nullptr, how, made_x.data(), threads);
            Doubles wanted = gx;
            for (int64_t i = 0; added && i < in.count(); i++) wanted[i] += double(onto[i]);
            near(in.plain(made_x), wanted, "convolution, input gradient");
        }
    }
}

template <class T>
void check_norm(int64_t batch, int64_t channels, int64_t side, bool relu, int64_t threads) {
    const Images images{batch, channels, side, side, 1};
    const int64_t pixels = side * side;
    const double epsilon = 1e-3, count = double(batch * pixels);
    const vector<T> x = numbers<T>(images.count()), grad = numbers<T>(images.count());
    const vector<Wide<T>> weight = numbers<Wide<T>>(channels), bias = numbers<Wide<T>>(channels);
    auto channel = [&](int64_t i) { return i / pixels % channels; };
    Doubles mean(channels), variance(channels), y(images.count()), gx(images.count()), gw(channels), gb(channels);
    auto normal = [&](int64_t i) { return (double(x[i]) - mean[channel(i)]) / std::sqrt(variance[channel(i)] + epsilon); };
    for (int64_t i = 0; i < images.count(); i++) mean[channel(i)] += double(x[i]) / count;
    for (int64_t i = 0; i < images.count(); i++) variance[channel(i)] += std::pow(double(x[i]) - mean[channel(i)], 2) / count;
    for (int64_t i = 0; i < images.count(); i++) y[i] = normal(i) * double(weight[channel(i)]) + double(bias[channel(i)]);
    auto sent = [&](int64_t i) { return relu && y[i] <= 0 ? 0.0 : double(grad[i]); };
    for (int64_t i = 0; i < images.count(); i++) {
        gb[channel(i)] += sent(i);
        gw[channel(i)] += sent(i) * normal(i);
    }
    for (int64_t i = 0; i < images.count(); i++) {
        int64_t c = channel(i);
        gx[i] = double(weight[c]) / std::sqrt(variance[c] + epsilon) * (sent(i) - gb[c] / count - normal(i) * gw[c] / count);
    }
    if (relu) {
        for (double& v : y) v = std::max(v, 0.0);
    }
    const vector<T> planes = images.planes(x), back = images.planes(grad);
    vector<T> out(images.elements<T>()), out_x(images.elements<T>());
    vector<Wide<T>> m(channels), v(channels), out_w(channels), out_b(channels);
    wirings_norm_forward(real<T>, planes.data(), nullptr, weight.data(), bias.data(), m.data(), v.data(), 0, epsilon, relu, out.data(),
                         batch, channels, side, side, 1, threads);
    near(images.plain(out), y, "batch norm");
    wirings_norm_gradients(real<T>, planes.data(), back.data(), nullptr, weight.data(), bias.data(), m.data(), v.data(), relu, 0,
                           epsilon, out_x.data(), nullptr, out_w.data(), out_b.data(), batch, channels, side, side, 1, threads);
    near(images.plain(out_x), gx, "batch norm, input gradient");
    near(out_w, gw, "batch norm, weight gradient");
    near(out_b, gb, "batch norm, bias gradient");
}

template <class T>
void check_pool(int64_t batch, int64_t channels, int64_t side, int64_t kernel, int64_t stride, int64_t padding, int64_t threads) {
    const int64_t out_side = (side + 2 * padding - kernel) / stride + 1;
    const Images in{batch, channels, side, side, 1}, out{batch, channels, out_side, out_side, 2};
    vector<T> x(in.count()), grad(out.count());
    for (T& v : x) v = T(std::floor(next() * 4));  // many are equal: the first counts
    for (T& v : grad) v = T(std::floor(next() * 4));
    Doubles y(out.count()), gx(in.count());
    for (int64_t i = 0; i < out.count(); i++) {
        const int64_t h = i % out_side, v = i / out_side % out_side, image = i / (out_side * out_side);
        int64_t from = -1;
        for (int64_t tap = 0; tap < kernel * kernel; tap++) {
            const int64_t row = v * stride - padding + tap / kernel, column = h * stride - padding + tap % kernel;
            if (!in.inside(row, column)) continue;
            const int64_t at = (image * side + row) * side + column;
            if (from < 0 || double(x[at]) > double(x[from])) from = at;
        }
        y[i] = double(x[from]);
        gx[from] += double(grad[i]);
    }
    const int64_t window[] = {kernel, kernel, stride, stride, padding, padding};
    const vector<T> planes = in.planes(x), back = out.planes(grad);
    vector<T> made(out.elements<T>(), T(7)), made_x(in.elements<T>(), T(7));
    wirings_pool_forward(real<T>, window, planes.data(), made.data(), in.panels<T>(), channels, side, side, 1, out_side, out_side, 2, threads);
    wirings_pool_gradient(real<T>, window, planes.data(), back.data(), made_x.data(), in.panels<T>(), channels, side, side, 1, out_side,
                          out_side, 2, threads);
    near(out.plain(made), y, "max pool");
    near(in.plain(made_x), gx, "max pool, gradient");
}

template <class T>
void check_select(int64_t n, int64_t k, bool absolute, int64_t threads) {
    vector<T> scores = numbers<T>(n);
    for (int64_t i = 0; i + 3 < n; i += 5) scores[i + 3] = scores[i];  // ties, which go to the lower index
    auto size = [&](int64_t i) { return absolute ? std::fabs(scores[i]) : scores[i]; };
    vector<int64_t> order(n), index(k);
    for (int64_t i = 0; i < n; i++) order[i] = i;
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return size(a) > size(b); });
    order.resize(k);
    std::sort(order.begin(), order.end());
    vector<uint8_t> mask(n), wanted(n);
    for (int64_t i : order) wanted[i] = 1;
    expect(wirings_top_index(real<T>, scores.data(), n, k, absolute, index.data(), threads) == 0 && index == order, "top-k, places");
    expect(wirings_top_mask(real<T>, scores.data(), n, k, absolute, mask.data(), threads) == 0 && mask == wanted, "top-k, mask");

    const double above = 0.5;
    vector<int64_t> skip, kept, found_places(n);
    for (int64_t i = 0; i < n; i += 3) skip.push_back(100 + i);
    vector<T> found(n);
    for (int64_t i = 0; i < n; i++) {
        if (i % 3 && std::fabs(double(scores[i])) > above) kept.push_back(100 + i);
    }
    int64_t many = wirings_collect(real<T>, scores.data(), n, 100, above, skip.data(), int64_t(skip.size()), found.data(),
                                   found_places.data(), n);
    found_places.resize(kept.size());
    expect(many == int64_t(kept.size()) && found_places == kept, "collected");
    scores[n / 2] = T(NAN);
    expect(wirings_top_index(real<T>, scores.data(), n, k, absolute, index.data(), threads) == 1, "a NaN is told");
}

template <class T>
void told(const char* group) {
    std::printf("%s, %-12s %lld checks\n", NAME<T>, group, static_cast<long long>(checks - told_of));
    told_of = checks;
}

template <class T>
void check_all(int64_t threads) {
    const double densities[] = {0.02, 0.3, 1.0};
    int turn = 0;
    for (int64_t batch : {1, 2, 13, 33, 129}) {
        for (double density : densities) {
            for (int64_t width : {16, 64, 128}) {
                bool relu = turn++ % 2 == 0;
                check_linear<T, uint16_t>(17, 33, batch, density, relu, width, threads);
                check_linear<T, int32_t>(40, 21, batch, density, !relu, width, threads);
            }
        }
    }
    check_linear<T, uint16_t>(1, 1, 1, 1.0, false, 16, threads);
    told<T>("linear");
    for (int64_t kernel : {1, 3, 5}) {
        for (int64_t stride : {1, 2}) {
            for (int64_t groups : {1, 2, 6}) {
                bool relu = turn++ % 2 == 0;
                check_conv<T>(17, 6, 12, groups, kernel, stride, kernel / 2, 9, 0.4, relu, threads);
                check_conv<T>(3, 6, 6, groups, kernel, stride, 0, 8, 0.1, !relu, threads);
            }
        }
    }
    check_conv<T>(2, 300, 4, 1, 3, 1, 1, 8, 0.3, true, threads);  // enough channels for several blocks
    told<T>("convolution");
    for (int64_t batch : {2, 16, 19}) check_norm<T>(batch, 5, 7, batch == 16, threads);
    told<T>("batch norm");
    for (int64_t kernel : {1, 2, 3}) {
        for (int64_t stride : {1, 2, 3}) {
            for (int64_t padding = 0; 2 * padding <= kernel; padding++) check_pool<T>(35, 3, 7, kernel, stride, padding, threads);
        }
    }
    told<T>("max pool");
    if constexpr (!std::is_same_v<T, bf16>) {
        for (int64_t n : {1, 7, 100, 5000}) {
            for (bool absolute : {false, true}) {
                for (int64_t k : {int64_t(1), (n + 1) / 2, n}) check_select<T>(n, k, absolute, threads);
            }
        }
        told<T>("select");
    }
}

}  // namespace

int main() {
    std::printf("%d-bit vectors, processor level %d, %s OpenMP\n", 8 * wirings_vector_bytes(), wirings_processor_level(),
                wirings_has_threads() ? "with" : "without");
    for (int64_t threads : {1, 3}) {
        if (threads > 1 && !wirings_has_threads()) break;
        check_all<bf16>(threads);
        check_all<float>(threads);
        check_all<double>(threads);
    }
    std::printf("%lld checks, %lld wrong\n", static_cast<long long>(checks), static_cast<long long>(failures));
    return failures > 0;
}
