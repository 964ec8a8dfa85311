//! A plan's TOML to a validated plan, a task graph and content keys.
