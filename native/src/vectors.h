// Vectors of float32, in memory as such or as bfloat16, included once for each instruction set (each-instruction-set.h). Every function has
// the attribute that names the set's instructions, because a compiler does not let a function without it be part of one with it. So the
// addon runs on any processor, whatever it was compiled on.

namespace {
namespace SPO_ISA {

template <int W>
struct Lanes {
  typedef float Floats __attribute__((vector_size(4 * W)));
  typedef double Doubles __attribute__((vector_size(8 * W)));
  typedef int32_t Ints __attribute__((vector_size(4 * W)));
  typedef uint32_t Bits __attribute__((vector_size(4 * W)));
  typedef uint16_t Halves __attribute__((vector_size(2 * W)));
};
template <int W>
using Floats = typename Lanes<W>::Floats;

template <int W>
SPO_TARGET Floats<W> load(const float* from) {
  Floats<W> lanes;
  __builtin_memcpy(&lanes, from, sizeof lanes);
  return lanes;
}

template <int W>
SPO_TARGET void store(float* to, Floats<W> lanes) {
  __builtin_memcpy(to, &lanes, sizeof lanes);
}

/** Exact: bfloat16 is the upper half of a float32. */
template <int W>
SPO_TARGET Floats<W> load(const c10::BFloat16* from) {
  typename Lanes<W>::Halves halves;
  __builtin_memcpy(&halves, from, sizeof halves);
  return (Floats<W>)(__builtin_convertvector(halves, typename Lanes<W>::Bits) << 16);
}

/** Rounds to the nearest, and from the middle to the even one, as libtorch. */
template <int W>
SPO_TARGET void store(c10::BFloat16* to, Floats<W> lanes) {
  using Bits = typename Lanes<W>::Bits;
  const Bits bits = (Bits)lanes;
  const Bits near = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const Bits nan = (Bits)(lanes != lanes);
  const auto halves = __builtin_convertvector((near & ~nan) | (nan & 0x7fc0u), typename Lanes<W>::Halves);
  __builtin_memcpy(static_cast<void*>(to), &halves, sizeof halves);
}

/** 1 / x for a normal number whose reciprocal is one too, to 1 ulp. */
template <int W>
SPO_TARGET Floats<W> reciprocal(Floats<W> x) {
#if SPO_LANES >= 16
  if constexpr (W == 16) {
    const Floats<W> near = (Floats<W>)__builtin_ia32_rcp14ps512_mask(x, x, -1);
    return near * (2.0f - x * near);  // Newton
  }
#endif
  return 1.0f / x;
}

/** eˣ, relative error 1e-7; of -87 and 87 for x beyond. Polynomial: Cephes, expf. */
template <int W>
SPO_TARGET Floats<W> exponential(Floats<W> unbounded) {
  using Bits = typename Lanes<W>::Bits;
  const Floats<W> over = unbounded < -87.0f ? Floats<W>{} - 87.0f : unbounded;  // NaN stays
  const Floats<W> x = over > 87.0f ? Floats<W>{} + 87.0f : over;
  const Floats<W> shifted = x * 1.44269504088896341f + 12582912.0f;  // 1.5·2²³: the last bits are now the nearest whole number
  const Floats<W> n = shifted - 12582912.0f;
  const Floats<W> r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  Floats<W> p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  return (Floats<W>)((Bits)p + ((Bits)shifted << 23));  // 2ⁿ·p, by p's exponent
}

/** x where `zero` is false. */
template <int W>
SPO_TARGET Floats<W> unless(typename Lanes<W>::Ints zero, Floats<W> x) {
  return (Floats<W>)((typename Lanes<W>::Ints)x & ~zero);
}

/** 1 / (1 + e⁻ᶻ), and 0 below -87: with it SiLU of -∞ is NaN, as libtorch's. */
template <int W>
SPO_TARGET Floats<W> sigmoid(Floats<W> z) {
  return unless<W>(z < -87.0f, reciprocal<W>(1.0f + exponential<W>(-z)));
}

}  // namespace SPO_ISA
}  // namespace
