#pragma once
// libtorch carries gloo without its headers. This declares what ProcessGroupGloo.hpp of libtorch 2.15 names, for the compiler alone.
// Nothing here makes an object of it, so that the order of its functions matters to libtorch alone.

#include <chrono>
#include <string>
#include <vector>

namespace gloo::rendezvous {

class Store {
 public:
  virtual ~Store();
  virtual void set(const std::string& key, const std::vector<char>& data) = 0;
  virtual std::vector<char> get(const std::string& key) = 0;
  virtual void wait(const std::vector<std::string>& keys) = 0;
  virtual void wait(const std::vector<std::string>& keys, const std::chrono::milliseconds& timeout);
};

}  // namespace gloo::rendezvous
