// The handle of a process group, shared by group.cpp, reducer.cpp and ordered.cpp.
#pragma once

#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>

#include "shim.h"

namespace tutti {

struct Group {
  c10::intrusive_ptr<c10d::ProcessGroup> inner;
};

void need_contiguous(const at::Tensor& tensor, const char* what);

// A parameter that is trained, and contiguous.
void need_leaf(const at::Tensor& tensor, const char* what);

}  // namespace tutti
