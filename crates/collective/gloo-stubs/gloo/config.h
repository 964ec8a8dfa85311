#pragma once
// See README.md beside this folder: stand-ins for gloo's headers, which PyTorch's wheel does not carry.
