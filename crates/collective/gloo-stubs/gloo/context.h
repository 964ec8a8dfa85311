#pragma once

#include <chrono>

namespace gloo {
// Only ever held behind a std::shared_ptr and made inside libtorch.
class Context {
 public:
  void setTimeout(std::chrono::milliseconds timeout);
};
}  // namespace gloo
