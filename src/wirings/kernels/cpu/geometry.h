// A convolution as kernels/conv.py tells it, and how it is made.
#pragma once

#include "planes.h"

namespace wirings {

// How a product is made (kernels/conv.py chooses): connection by connection (connections.h); as if none were missing (filled.h);
// by Winograd's algorithm (winograd.h).
enum How : int64_t { CONNECTIONS, FILLED, WINOGRAD };

// As packed by kernels/conv.py.
struct Geometry {
    int64_t panels, in_channels, out_channels, groups, kernel_height, kernel_width, stride, padding;
    int64_t height, width, halo, out_height, out_width, out_halo;
    int64_t first;  // bytes of the first-level cache
    int64_t cache;  // bytes of input rows that a band of weight gradients may keep in the second-level cache

    int64_t taps() const { return kernel_height * kernel_width; }
    int64_t group_in() const { return in_channels / groups; }
    int64_t group_out() const { return out_channels / groups; }
};

template <class S>
Planes input_of(const Geometry& g) {
    return {g.in_channels, g.height, g.width, g.halo, LANES_OF<S>};
}
template <class S>
Planes output_of(const Geometry& g) {
    return {g.out_channels, g.out_height, g.out_width, g.out_halo, LANES_OF<S>};
}

}  // namespace wirings
