#pragma once
// Winograd's convolution in all instruction sets that this architecture may have.

#include <cstdint>

#include "instruction-sets.h"

namespace {

/** A kernel [results, channels, 3, 3], its numbers so far apart in memory along each axis. */
struct WinogradWeights {
  const float* at;
  int64_t results, channels;
  int64_t of_result, of_channel, of_row, of_column;
};

/** x [samples, height, width, channels] → y [samples, height, width, results]: padded by one pixel of zeros on all sides. */
struct WinogradMaps {
  const float* x;
  int64_t height, width, channels, results;  // where x is doubled, height and width are those of y
  const float* weights;  // transformed
  const float* bias;     // or null
  float* y;
  int64_t apart;  // numbers from a pixel of y to the next, which may have more than these results
};

struct WinogradKernels {
  int64_t places;  // products of a channel and tile
  int64_t side;    // results of a tile along an axis
  int64_t lanes;   // results of a block of weights
  int64_t rows;    // of how many tiles a multiple is computed
  /** A block of weights, from a result on: places·channels·lanes numbers. */
  void (*weights_of_block)(const WinogradWeights&, int64_t first, float* to);
  /** Numbers that `convolve` needs as its memory, from a multiple of 64 bytes on. channels: a multiple of the lanes. */
  int64_t (*memory)(int64_t channels, int64_t tiles);
  /** Tiles from `first` on, numbered row by row over all samples. */
  void (*convolve)(const WinogradMaps&, int64_t first, int64_t tiles, float* memory);
};

}  // namespace

#define SPO_KERNELS "winograd-tiles.h"
#include "each-instruction-set.h"

namespace {

/** kernels: not libtorch's. kSide: 4, and 6 of larger tiles; 3 of maps that are doubled before. */
template <int kSide>
const WinogradKernels& winograd_kernels(Kernels kernels) {
#ifdef __x86_64__
  if (kernels == Kernels::avx512) return avx512::winograd_kernels<kSide>;
  if (kernels == Kernels::avx2) return avx2::winograd_kernels<kSide>;
#endif
  return portable::winograd_kernels<kSide>;
}

}  // namespace
