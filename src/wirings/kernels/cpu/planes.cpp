// Images to planes and back.
#include <algorithm>

#include "common.h"
#include "planes.h"
#include "strips.h"

using namespace wirings;

// (batch, channels, height, width), contiguous or channels-last, to planes; missing samples and the halo are zero.
API int wirings_to_planes(int64_t real, const void* x, void* planes, int64_t batch, int64_t channels, int64_t height, int64_t width,
                          int64_t halo, int64_t channels_last, int64_t threads) {
    return with_real(real, [&](auto t) {
        using T = decltype(t);
        const Planes p{channels, height, width, halo};
        const int64_t sample = channels * height * width, panels = (batch + LANES - 1) / LANES;
        const T* from = static_cast<const T*>(x);
        T* to = static_cast<T*>(planes);
        team(threads, [&](int member, int size) {
            Range mine = part(panels * channels, member, size);
            for (int64_t job = mine.first; job < mine.last; job++) {
                T* plane = to + job * p.plane();
                clear_halo(plane, p);
                if (channels_last) continue;
                int64_t panel = job / channels, channel = job % channels;
                const T* s = from + panel * LANES * sample + channel * height * width;
                for (int64_t y = 0; y < height; y++) {
                    strip_in(s + y * width, sample, width, std::min<int64_t>(LANES, batch - panel * LANES), plane + p.at(y, 0), LANES);
                }
            }
            if (!channels_last) return;
            mine = part(panels * height, member, size);
            for (int64_t job = mine.first; job < mine.last; job++) {
                int64_t panel = job / height, y = job % height;
                for (int64_t x0 = 0; x0 < width; x0++) {
                    strip_in(from + panel * LANES * sample + (y * width + x0) * channels, sample, channels,
                             std::min<int64_t>(LANES, batch - panel * LANES), to + panel * p.panel() + p.at(y, x0), p.plane());
                }
            }
        });
    });
}

// The way back.
API int wirings_from_planes(int64_t real, const void* planes, void* x, int64_t batch, int64_t channels, int64_t height, int64_t width,
                            int64_t halo, int64_t channels_last, int64_t threads) {
    return with_real(real, [&](auto t) {
        using T = decltype(t);
        const Planes p{channels, height, width, halo};
        const int64_t sample = channels * height * width, panels = (batch + LANES - 1) / LANES;
        const T* from = static_cast<const T*>(planes);
        T* to = static_cast<T*>(x);
        team(threads, [&](int member, int size) {
            Range mine = part(channels_last ? panels * height : panels * channels, member, size);
            for (int64_t job = mine.first; job < mine.last; job++) {
                if (channels_last) {
                    int64_t panel = job / height, y = job % height;
                    for (int64_t x0 = 0; x0 < width; x0++) {
                        strip_out(from + panel * p.panel() + p.at(y, x0), p.plane(), channels, std::min<int64_t>(LANES, batch - panel * LANES),
                                  to + panel * LANES * sample + (y * width + x0) * channels, sample);
                    }
                } else {
                    int64_t panel = job / channels, channel = job % channels;
                    for (int64_t y = 0; y < height; y++) {
                        strip_out(from + job * p.plane() + p.at(y, 0), LANES, width, std::min<int64_t>(LANES, batch - panel * LANES),
                                  to + panel * LANES * sample + channel * height * width + y * width, sample);
                    }
                }
            }
        });
    });
}
