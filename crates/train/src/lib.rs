//! Losses, optimizer, EMA, schedules, augmentation, the loop, prediction.
