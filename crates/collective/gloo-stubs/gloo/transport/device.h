#pragma once

namespace gloo::transport {
class Device;
// A member of c10d's SendWork and RecvWork, which we never construct.
class UnboundBuffer {
 public:
  virtual ~UnboundBuffer() = default;
};
}  // namespace gloo::transport
