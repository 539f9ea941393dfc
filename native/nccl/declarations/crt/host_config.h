// In the place of NVIDIA's header of this name, which comes with its compiler alone: a host compiler needs none of it.
#pragma once
