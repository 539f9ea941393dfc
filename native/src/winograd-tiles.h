// Convolution 3×3 by Winograd's F(2×2, 3×3) and F(4×4, 3×3). Included once for each instruction set, as vectors.h.
//
// y = Aᵀ[(G·g·Gᵀ) ⊙ (Bᵀ·d·B)]A for each tile of 2×2 results, d the 4×4 pixels around it: 16 products a channel, not 36. The products of
// each of the 16 places are one matrix product, tiles × channels by channels × results. Source: Lavin & Gray 2016, sections 4.1 and 5.
//
// Tiles of 4×4 results have 6×6 places: 36 products, where four tiles of 2×2 have 64. Their polynomials are taken at 0, ±3/4, ±3/2 and ∞:
// with ±1 and ±2 the rounding is twice as large. Source: Barabasz et al. 2020, "Error analysis and improving the accuracy of Winograd
// convolution for deep neural networks".
//
// Where each pixel stands twice along both axes, d is a b b c along each. Then Bᵀ·d has d₂ − d₁ = 0: 9 places are left, of the 3×3 pixels
// around one. kSide is 6, 4 or 3: pixels, and places, along an axis.

namespace {
namespace SPO_ISA {

namespace winograd {

constexpr int kLanes = SPO_LANES;
constexpr int kRows = kLanes >= 16 ? 12 : 6;  // tiles of which the registers hold two vectors of results
constexpr int64_t kSummed = 16;               // channels of which one sum is made before it is added to that of others
constexpr int64_t kApart = 16;                // numbers between two places' rows, so that they do not share a set of the cache

using Vector = Floats<kLanes>;

/** Results of a tile along an axis. */
template <int kSide>
constexpr int kResults = kSide == 6 ? 4 : 2;

constexpr float kInner = 0.75f, kOuter = 1.5f;  // the points of 6 places, beside 0 and ∞
constexpr float kInner2 = kInner * kInner, kOuter2 = kOuter * kOuter;
constexpr float kOfInner = 1 / (2 * kInner2 * (kInner2 - kOuter2)), kOfOuter = 1 / (2 * kOuter2 * (kOuter2 - kInner2));

/** Bᵀ · kSide vectors, `step` apart, in their place. */
template <int kSide>
SPO_TARGET void transform_pixels(Vector* at, int step) {
  if constexpr (kSide == 3) {
    at[0] -= at[step];
    at[2 * step] = at[step] - at[2 * step];
    return;
  }
  const Vector d0 = at[0], d1 = at[step], d2 = at[2 * step], d3 = at[3 * step];
  if constexpr (kSide == 6) {
    const Vector d4 = at[4 * step], d5 = at[5 * step];
    const Vector inner = d4 - kOuter2 * d2, inner_odd = kInner * (d3 - kOuter2 * d1);
    const Vector outer = d4 - kInner2 * d2, outer_odd = kOuter * (d3 - kInner2 * d1);
    at[0] = kInner2 * kOuter2 * d0 + (d4 - (kInner2 + kOuter2) * d2);
    at[step] = inner + inner_odd;
    at[2 * step] = inner - inner_odd;
    at[3 * step] = outer + outer_odd;
    at[4 * step] = outer - outer_odd;
    at[5 * step] = kInner2 * kOuter2 * d1 + (d5 - (kInner2 + kOuter2) * d3);
    return;
  }
  at[0] = d0 - d2;
  at[step] = d1 + d2;
  at[2 * step] = d2 - d1;
  at[3 * step] = d1 - d3;
}

/** G · 3 vectors, `step` apart → kSide, `apart` from each other. */
template <int kSide>
SPO_TARGET void transform_weights(const Vector* g, int step, Vector* to, int apart) {
  if constexpr (kSide == 3) {
    to[0] = g[0];
    to[apart] = g[0] + g[step] + g[2 * step];  // times b, for which the plain way has 2b times half of it
    to[2 * apart] = g[2 * step];
    return;
  }
  if constexpr (kSide == 6) {
    const Vector inner = kOfInner * (g[0] + kInner2 * g[2 * step]), inner_odd = kOfInner * kInner * g[step];
    const Vector outer = kOfOuter * (g[0] + kOuter2 * g[2 * step]), outer_odd = kOfOuter * kOuter * g[step];
    to[0] = 1 / (kInner2 * kOuter2) * g[0];
    to[apart] = inner + inner_odd;
    to[2 * apart] = inner - inner_odd;
    to[3 * apart] = outer + outer_odd;
    to[4 * apart] = outer - outer_odd;
    to[5 * apart] = g[2 * step];
    return;
  }
  const Vector even = 0.5f * (g[0] + g[2 * step]), odd = 0.5f * g[step];
  to[0] = g[0];
  to[apart] = even + odd;
  to[2 * apart] = even - odd;
  to[3 * apart] = g[2 * step];
}

/** G·g·Gᵀ: 9 vectors → kSide². */
template <int kSide>
SPO_TARGET void transform_kernels(const Vector* g, Vector* u) {
  Vector half[3 * kSide];
#pragma GCC unroll 3
  for (int x = 0; x < 3; x++) transform_weights<kSide>(g + x, 3, half + x, 3);
#pragma GCC unroll 6
  for (int y = 0; y < kSide; y++) transform_weights<kSide>(half + 3 * y, 1, u + kSide * y, 1);
}

/** Rows and columns of kLanes vectors change places. */
SPO_TARGET void transpose(Vector* rows) {
#pragma GCC unroll 4
  for (int step = 1; step < kLanes; step *= 2) {
    typename Lanes<kLanes>::Ints upper, lower;  // from which lane of a pair of rows: below kLanes of the first
#pragma GCC unroll 16
    for (int lane = 0; lane < kLanes; lane++) {
      upper[lane] = lane & step ? kLanes + (lane ^ step) : lane;
      lower[lane] = lane & step ? kLanes + lane : lane ^ step;
    }
#pragma GCC unroll 16
    for (int row = 0; row < kLanes; row++) {
      if (row & step) continue;
      const Vector first = rows[row], second = rows[row + step];
      rows[row] = __builtin_shuffle(first, second, upper);
      rows[row + step] = __builtin_shuffle(first, second, lower);
    }
  }
}

/** As `weights_of_block`, of kernels whose channels are neighbours in memory: kLanes channels at a time. */
template <int kSide>
SPO_TARGET void weights_of_neighbours(const WinogradWeights& weights, int64_t first, float* to) {
  constexpr int kPlaces = kSide * kSide;
  for (int64_t channel = 0; channel < weights.channels; channel += kLanes) {
    Vector all[kPlaces][kLanes];
    const float* at = weights.at + first * weights.of_result + channel;
    for (int lane = 0; lane < kLanes; lane++, at += weights.of_result) {
      Vector g[9], u[kPlaces];
#pragma GCC unroll 9
      for (int i = 0; i < 9; i++) {
        const float* tap = at + i / 3 * weights.of_row + i % 3 * weights.of_column;
        g[i] = load<kLanes>(tap);
        __builtin_prefetch(tap + kLanes);  // so many streams are too many for the processor to foresee
      }
      transform_kernels<kSide>(g, u);
#pragma GCC unroll 36
      for (int i = 0; i < kPlaces; i++) all[i][lane] = u[i];
    }
    for (int i = 0; i < kPlaces; i++) {
      transpose(all[i]);
      float* place = to + (i * weights.channels + channel) * kLanes;
#pragma GCC unroll 16
      for (int row = 0; row < kLanes; row++) store<kLanes>(place + row * kLanes, all[i][row]);
    }
  }
}

/** G·g·Gᵀ of kLanes results from result `first` on → [places, channels, kLanes]; beyond the last result 0. */
template <int kSide>
SPO_ENTRY void weights_of_block(const WinogradWeights& weights, int64_t first, float* to) {
  const int64_t count = weights.results - first < kLanes ? weights.results - first : kLanes;
  if (weights.of_channel == 1 && count == kLanes && weights.channels % kLanes == 0) {
    weights_of_neighbours<kSide>(weights, first, to);
    return;
  }
  for (int64_t channel = 0; channel < weights.channels; channel++) {
    float taps[9][kLanes] = {};
    const float* at = weights.at + first * weights.of_result + channel * weights.of_channel;
    Vector g[9], u[kSide * kSide];
    if (weights.of_result == 1 && count == kLanes) {
#pragma GCC unroll 9
      for (int i = 0; i < 9; i++) g[i] = load<kLanes>(at + i / 3 * weights.of_row + i % 3 * weights.of_column);
    } else {
      for (int64_t lane = 0; lane < count; lane++, at += weights.of_result) {
        for (int i = 0; i < 9; i++) taps[i][lane] = at[i / 3 * weights.of_row + i % 3 * weights.of_column];
      }
#pragma GCC unroll 9
      for (int i = 0; i < 9; i++) g[i] = load<kLanes>(taps[i]);
    }
    transform_kernels<kSide>(g, u);
#pragma GCC unroll 36
    for (int i = 0; i < kSide * kSide; i++) store<kLanes>(to + (i * weights.channels + channel) * kLanes, u[i]);
  }
}

/** Bᵀ·d·B of one tile → to, of which places are `apart`. pixels: its own. */
template <int kSide>
SPO_TARGET void pixels_of_tile(const float* const* pixels, int64_t channels, float* to, int64_t apart) {
  for (int64_t channel = 0; channel < channels; channel += kLanes) {
    Vector d[kSide * kSide];
#pragma GCC unroll 36
    for (int i = 0; i < kSide * kSide; i++) d[i] = load<kLanes>(pixels[i] + channel);
#pragma GCC unroll 6
    for (int x = 0; x < kSide; x++) transform_pixels<kSide>(d + x, kSide);
#pragma GCC unroll 6
    for (int y = 0; y < kSide; y++) transform_pixels<kSide>(d + kSide * y, 1);
#pragma GCC unroll 36
    for (int i = 0; i < kSide * kSide; i++) store<kLanes>(to + i * apart + channel, d[i]);
  }
}

/** rows [kRows, channels] · N blocks of weights [channels, kLanes] → to [kRows, N·kLanes]. Long sums round most: hence kSummed. */
template <int N>
SPO_TARGET void multiply(const float* rows, int64_t channels, const float* weights, int64_t block, float* to) {
  for (int64_t first = 0; first < channels; first += kSummed) {
    const int64_t end = first + kSummed < channels ? first + kSummed : channels;
    Vector sums[kRows][N] = {};
    for (int64_t channel = first; channel < end; channel++) {
      Vector weight[N];
#pragma GCC unroll 2
      for (int i = 0; i < N; i++) weight[i] = load<kLanes>(weights + i * block + channel * kLanes);
#pragma GCC unroll 12
      for (int r = 0; r < kRows; r++) {
#pragma GCC unroll 2
        for (int i = 0; i < N; i++) sums[r][i] += rows[r * channels + channel] * weight[i];
      }
    }
#pragma GCC unroll 12
    for (int r = 0; r < kRows; r++) {
#pragma GCC unroll 2
      for (int i = 0; i < N; i++) {
        float* at = to + (r * N + i) * kLanes;
        store<kLanes>(at, first ? load<kLanes>(at) + sums[r][i] : sums[r][i]);
      }
    }
  }
}

/** Where a tile's results begin. */
struct Tile {
  int64_t sample, y, x;
};

/** Tiles are numbered row by row over all samples. */
template <int kSide>
SPO_TARGET Tile tile_at(const WinogradMaps& maps, int64_t number) {
  constexpr int64_t kApart = kResults<kSide>;
  const int64_t across = (maps.width + kApart - 1) / kApart, down = (maps.height + kApart - 1) / kApart;
  return {number / (across * down), number / across % down * kApart, number % across * kApart};
}

template <int kSide>
SPO_TARGET void step(const WinogradMaps& maps, Tile& tile) {
  if ((tile.x += kResults<kSide>) < maps.width) return;
  tile.x = 0;
  if ((tile.y += kResults<kSide>) < maps.height) return;
  tile.y = 0;
  tile.sample++;
}

/** Writes the tile's transformed pixels to `to`, of which places are `apart`. outside: a pixel of zeros. */
template <int kSide>
SPO_TARGET void read_tile(const WinogradMaps& maps, const Tile& tile, const float* outside, float* to, int64_t apart) {
  constexpr int64_t kDoubled = kSide == 3 ? 2 : 1;
  const float* pixels[kSide * kSide];
  const int64_t height = maps.height / kDoubled, width = maps.width / kDoubled, row = width * maps.channels;
  const int64_t top = tile.y / kDoubled - 1, left = tile.x / kDoubled - 1;
  const float* corner = maps.x + ((tile.sample * height + top) * width + left) * maps.channels;
  const bool inner = top >= 0 && top + kSide <= height && left >= 0 && left + kSide <= width;
#pragma GCC unroll 36
  for (int i = 0; i < kSide * kSide; i++) {
    const int64_t y = top + i / kSide, x = left + i % kSide;
    const bool inside = inner || (y >= 0 && y < height && x >= 0 && x < width);
    pixels[i] = inside ? corner + i / kSide * row + i % kSide * maps.channels : outside;
  }
  pixels_of_tile<kSide>(pixels, maps.channels, to, apart);
}

/** Aᵀ · kSide vectors, `step` apart → kResults, `apart` from each other. */
template <int kSide>
SPO_TARGET void transform_products(const Vector* m, int step, Vector* to, int apart) {
  if constexpr (kSide == 6) {
    const Vector inner = m[step] + m[2 * step], inner_odd = kInner * (m[step] - m[2 * step]);
    const Vector outer = m[3 * step] + m[4 * step], outer_odd = kOuter * (m[3 * step] - m[4 * step]);
    to[0] = m[0] + inner + outer;
    to[apart] = inner_odd + outer_odd;
    to[2 * apart] = kInner2 * inner + kOuter2 * outer;
    to[3 * apart] = kInner2 * inner_odd + kOuter2 * outer_odd + m[5 * step];
    return;
  }
  to[0] = m[0] + m[step];
  to[apart] = m[step] - m[(kSide - 1) * step];
  if constexpr (kSide == 3) return;
  to[0] += m[2 * step];
  to[apart] -= m[2 * step];
}

/** Aᵀ·m·A, and the bias, of one tile and `count` results from result `first` on. m: places `apart`. */
template <int kSide>
SPO_TARGET void write_tile(const WinogradMaps& maps, const Tile& tile, const float* m, int64_t apart, Vector bias, int64_t first,
                           int64_t count) {
  constexpr int kAcross = kResults<kSide>;
  Vector products[kSide * kSide], half[kAcross * kSide], results[kAcross * kAcross];
#pragma GCC unroll 36
  for (int i = 0; i < kSide * kSide; i++) products[i] = load<kLanes>(m + i * apart);
#pragma GCC unroll 6
  for (int x = 0; x < kSide; x++) transform_products<kSide>(products + x, kSide, half + x, kSide);
#pragma GCC unroll 4
  for (int y = 0; y < kAcross; y++) transform_products<kSide>(half + kSide * y, 1, results + kAcross * y, 1);
  float* corner = maps.y + ((tile.sample * maps.height + tile.y) * maps.width + tile.x) * maps.apart + first;
  const int64_t down = maps.height - tile.y, across = maps.width - tile.x;
#pragma GCC unroll 16
  for (int i = 0; i < kAcross * kAcross; i++) {
    if (i / kAcross >= down || i % kAcross >= across) continue;
    float* to = corner + (i / kAcross * maps.width + i % kAcross) * maps.apart;
    if (count >= kLanes) store<kLanes>(to, results[i] + bias);
    else for (int64_t lane = 0; lane < count; lane++) to[lane] = results[i][lane] + bias[lane];
  }
}

constexpr int64_t padded(int64_t tiles) { return (tiles + kRows - 1) / kRows * kRows; }

/** All results of some tiles. */
template <int kSide>
SPO_ENTRY void convolve(const WinogradMaps& maps, int64_t first, int64_t count, float* memory) {
  constexpr int64_t kPlaces = kSide * kSide;
  const int64_t channels = maps.channels, rows = padded(count);
  const int64_t apart = rows * channels + kApart, apart_of_products = rows * 2 * kLanes + kApart;
  const int64_t block = kPlaces * channels * kLanes;
  float* pixels = memory;
  float* products = pixels + kPlaces * apart;
  float* outside = products + kPlaces * apart_of_products;
  __builtin_memset(outside, 0, sizeof(float) * channels);
  Tile tile = tile_at<kSide>(maps, first);
  for (int64_t row = 0; row < count; row++, step<kSide>(maps, tile)) read_tile<kSide>(maps, tile, outside, pixels + row * channels, apart);
  for (int i = 0; i < kPlaces; i++) {
    __builtin_memset(pixels + i * apart + count * channels, 0, sizeof(float) * (rows - count) * channels);
  }
  for (int64_t result = 0; result < maps.results;) {
    const int vectors = maps.results - result > kLanes ? 2 : 1;
    const float* weights = maps.weights + result / kLanes * block;
    for (int64_t i = 0; i < kPlaces; i++) {
      for (int64_t row = 0; row < rows; row += kRows) {
        const float* from = pixels + i * apart + row * channels;
        float* to = products + i * apart_of_products + row * vectors * kLanes;
        if (vectors == 2) multiply<2>(from, channels, weights + i * channels * kLanes, block, to);
        else multiply<1>(from, channels, weights + i * channels * kLanes, block, to);
      }
    }
    for (int v = 0; v < vectors; v++) {
      const int64_t at = result + v * kLanes, results = maps.results - at < kLanes ? maps.results - at : kLanes;
      Vector bias = {};
      if (maps.bias) __builtin_memcpy(&bias, maps.bias + at, sizeof(float) * results);
      tile = tile_at<kSide>(maps, first);
      for (int64_t row = 0; row < count; row++, step<kSide>(maps, tile)) {
        write_tile<kSide>(maps, tile, products + (row * vectors + v) * kLanes, apart_of_products, bias, at, results);
      }
    }
    result += vectors * kLanes;
  }
}

template <int kSide>
constexpr int64_t memory_of(int64_t channels, int64_t tiles) {
  return kSide * kSide * ((channels + 2 * kLanes) * padded(tiles) + 2 * kApart) + channels;
}

}  // namespace winograd

template <int kSide>
constexpr WinogradKernels winograd_kernels{kSide * kSide,
                                           winograd::kResults<kSide>,
                                           winograd::kLanes,
                                           winograd::kRows,
                                           winograd::weights_of_block<kSide>,
                                           winograd::memory_of<kSide>,
                                           winograd::convolve<kSide>};

}  // namespace SPO_ISA
}  // namespace
