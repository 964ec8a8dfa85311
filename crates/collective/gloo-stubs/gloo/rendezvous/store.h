#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace gloo::rendezvous {
// The base class of c10d's GlooStore, which we never construct: our rendezvous is a c10d::Store.
class Store {
 public:
  virtual ~Store() = default;
  virtual void set(const std::string& key, const std::vector<char>& value) = 0;
  virtual std::vector<char> get(const std::string& key) = 0;
  virtual void wait(const std::vector<std::string>& keys) = 0;
  virtual void wait(const std::vector<std::string>& keys, const std::chrono::milliseconds& timeout) = 0;
};
}  // namespace gloo::rendezvous
