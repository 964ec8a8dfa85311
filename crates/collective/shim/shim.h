// What the parts of the shim share: how an exception becomes an error code and a message, and the handles that Rust holds.
//
// Every function that Rust calls has C linkage, lets no exception out, returns a `Kind`, and on anything but `Ok` stores a
// message in `*message` that Rust frees with `tutti_free_text`.
#pragma once

#include <c10/util/Exception.h>
#include <c10/util/intrusive_ptr.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>

namespace tutti {

// Mirrored by `Kind` in src/error.rs.
enum Kind : int {
  Ok = 0,
  Store = 1,
  Network = 2,
  Backend = 3,
  Peer = 4,
  Torch = 5,
  Argument = 6,
  Other = 7,
};

// A broken promise of the caller, found before libtorch was asked.
struct BadArgument {
  std::string text;
};

inline int fail(int kind, const std::string& text, char** message) noexcept {
  *message = strdup(text.c_str());
  return kind;
}

// Runs `body`. A plain std::exception becomes `plain`: gloo's failures arrive as such, so that a collective gives `Peer`.
template <typename Body>
int guarded(int plain, char** message, Body&& body) noexcept {
  try {
    body();
    return Ok;
  } catch (const BadArgument& error) {
    return fail(Argument, error.text, message);
  } catch (const c10::DistStoreError& error) {
    return fail(Store, error.what_without_backtrace(), message);
  } catch (const c10::DistNetworkError& error) {
    return fail(Network, error.what_without_backtrace(), message);
  } catch (const c10::DistBackendError& error) {
    return fail(Backend, error.what_without_backtrace(), message);
  } catch (const c10::Error& error) {
    return fail(Torch, error.what_without_backtrace(), message);
  } catch (const std::bad_alloc&) {
    return fail(Other, "out of memory", message);
  } catch (const std::exception& error) {
    return fail(plain, error.what(), message);
  } catch (...) {
    return fail(Other, "an exception of unknown type", message);
  }
}

}  // namespace tutti
