//! The wire: .proto files, generated code, conversions that validate.
