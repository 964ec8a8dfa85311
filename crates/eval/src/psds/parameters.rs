use std::str::FromStr;

use crate::error::Error;

/// How detections are matched and rates become a score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PsdsParameters {
    /// Detection tolerance criterion: the share of a detection that reference events must cover.
    pub dtc: f64,
    /// Ground truth intersection criterion: the share of a reference event that true detections must cover.
    pub gtc: f64,
    /// What detections on other classes' events cost; `None` for nothing extra.
    pub cross_triggers: Option<CrossTriggers>,
    /// Cost of instability across classes: how many standard deviations are taken off the mean.
    pub alpha_st: f64,
    /// The unit of false positive rates.
    pub unit: TimeUnit,
    /// The effective false positive rate at which the curve ends, per unit.
    pub max_efpr: f64,
    /// Keep operating points with a lower true positive rate at a higher false positive rate instead of the best so far.
    pub non_oracle: bool,
}

/// The cross-trigger term.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CrossTriggers {
    /// The share of a false detection that another class' events must cover to be a cross trigger.
    pub cttc: f64,
    /// Weight of the mean cross-trigger rate in the effective false positive rate; above 0.
    pub alpha_ct: f64,
}

/// The unit of false positive rates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeUnit {
    /// 1 s.
    Second,
    /// 60 s.
    Minute,
    /// 3600 s.
    Hour,
}

impl PsdsParameters {
    /// Scenario 1: react fast, localise well (recipe 9.3).
    #[must_use]
    pub const fn scenario1() -> Self {
        Self {
            dtc: 0.7,
            gtc: 0.7,
            cross_triggers: None,
            alpha_st: 1.0,
            unit: TimeUnit::Hour,
            max_efpr: 100.0,
            non_oracle: false,
        }
    }

    /// Scenario 2: do not confuse classes (recipe 9.3).
    #[must_use]
    pub const fn scenario2() -> Self {
        Self {
            dtc: 0.1,
            gtc: 0.1,
            cross_triggers: Some(CrossTriggers {
                cttc: 0.3,
                alpha_ct: 0.5,
            }),
            ..Self::scenario1()
        }
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let share = "a number above 0 and at most 1";
        let is_share = |x: f64| x > 0.0 && x <= 1.0;
        let rule = |name, value: f64, ok: bool, expected| {
            if ok {
                Ok(())
            } else {
                let found = value.to_string();
                Err(Error::Parameter {
                    name,
                    found,
                    expected,
                })
            }
        };
        rule("dtc", self.dtc, is_share(self.dtc), share)?;
        rule("gtc", self.gtc, is_share(self.gtc), share)?;
        if let Some(CrossTriggers { cttc, alpha_ct }) = self.cross_triggers {
            let ok = alpha_ct.is_finite() && alpha_ct > 0.0;
            let expected = "a number above 0 (leave the cross-trigger term out for none)";
            rule("cttc", cttc, is_share(cttc), share)?;
            rule("alpha_ct", alpha_ct, ok, expected)?;
        }
        let ok = self.alpha_st.is_finite() && self.alpha_st >= 0.0;
        rule("alpha_st", self.alpha_st, ok, "a number of 0 or more")?;
        let ok = self.max_efpr.is_finite() && self.max_efpr > 0.0;
        rule("max_efpr", self.max_efpr, ok, "a number above 0")
    }
}

impl CrossTriggers {
    /// From the two numbers as publications give them, `alpha_ct` = 0 meaning no cross-trigger term.
    ///
    /// # Errors
    /// When one is given without the other.
    pub fn from_pair(cttc: Option<f64>, alpha_ct: f64) -> Result<Option<Self>, Error> {
        match cttc {
            Some(cttc) if alpha_ct > 0.0 => Ok(Some(Self { cttc, alpha_ct })),
            None if alpha_ct == 0.0 => Ok(None),
            Some(_) => Err(Error::Parameter {
                name: "alpha_ct",
                found: alpha_ct.to_string(),
                expected: "a number above 0, because cttc is given",
            }),
            None => Err(Error::Parameter {
                name: "cttc",
                found: "none".to_owned(),
                expected: "a number, because alpha_ct is not 0",
            }),
        }
    }
}

impl TimeUnit {
    /// Seconds in one unit.
    #[must_use]
    pub const fn seconds(self) -> f64 {
        match self {
            Self::Second => 1.0,
            Self::Minute => 60.0,
            Self::Hour => 3600.0,
        }
    }
}

impl FromStr for TimeUnit {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "second" => Ok(Self::Second),
            "minute" => Ok(Self::Minute),
            "hour" => Ok(Self::Hour),
            _ => Err(Error::Parameter {
                name: "unit_of_time",
                found: format!("{text:?}"),
                expected: "\"second\", \"minute\" or \"hour\"",
            }),
        }
    }
}
