//! Flagger: its hooks, and a Canary that is suspended.
