#pragma once
// libtorch carries gloo without its headers. This declares what ProcessGroupGloo.hpp of libtorch 2.15 names, for the compiler alone.
