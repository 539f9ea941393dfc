// In the place of NVIDIA's header of this name, which comes with its compiler alone: what its words mean to a host compiler, as far as the
// headers of CUDA's runtime use them.
#pragma once

#define __host__
#define __device__
#define __global__
#define __constant__
#define __shared__
#define __managed__
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __builtin_align__(bytes) __align__(bytes)
#define __forceinline__ __inline__ __attribute__((always_inline))
#define __specialization_static static
#define __device_builtin__
#define __device_builtin_texture_type__
#define __device_builtin_surface_type__
#define __cudart_builtin__
#define CUDARTAPI
#define CUDARTAPI_CDECL
