// Where things are in planes [panel][channel][height + 2 halo][width + 2 halo][samples], counted in elements: 16 samples side
// by side, 32 of bfloat16.
#pragma once

#include <algorithm>
#include <atomic>

#include "vector.h"

namespace wirings {

struct Planes {
    int64_t channels, height, width, halo;
    int64_t lanes = LANES;

    int64_t row() const { return (width + 2 * halo) * lanes; }
    int64_t plane() const { return (height + 2 * halo) * row(); }
    int64_t panel() const { return channels * plane(); }
    int64_t at(int64_t y, int64_t x) const { return (y + halo) * row() + (x + halo) * lanes; }
};

template <class T>
void clear_halo(T* plane, const Planes& p) {
    if (p.halo == 0) return;
    std::fill(plane, plane + p.at(0, 0), T(0));
    for (int64_t y = 0; y + 1 < p.height; y++) std::fill(plane + p.at(y, p.width), plane + p.at(y + 1, 0), T(0));
    if (p.height > 0) std::fill(plane + p.at(p.height - 1, p.width), plane + p.plane(), T(0));
}

// Runs work(job) for every job, on whichever thread is free.
template <class F>
void deal(std::atomic<int64_t>& next, int64_t jobs, F&& work) {
    for (int64_t job; (job = next.fetch_add(1, std::memory_order_relaxed)) < jobs;) work(job);
}

}  // namespace wirings
