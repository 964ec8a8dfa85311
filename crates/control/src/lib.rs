//! The pure core: tasks, gangs, leases, fences, retries.
