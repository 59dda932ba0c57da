//! The elements of stream management, read (XEP-0198 §3–§6; the schema is §13).
//!
//! Attributes and children that the schema does not have are passed over: a later version may add them.

use std::borrow::Cow;

use super::error::NonzaError;
use super::nonza::{Enable, Enabled, Failed, Location, Nonza, Resume, Resumed, SmId, number};
use crate::{Element, StanzaCondition, ns};

impl Nonza {
    /// Reads an element; `None` for one that is not of stream management, or that this version of it does not have.
    pub fn from_element(element: &Element) -> Result<Option<Self>, NonzaError> {
        if element.namespace() != ns::STREAM_MANAGEMENT {
            return Ok(None);
        }
        Ok(Some(match element.name() {
            "enable" => {
                let read = Attributes(element, "enable");
                Self::Enable(Enable {
                    resume: read.boolean("resume")?,
                    max: read.seconds("max")?,
                })
            }
            "enabled" => {
                let read = Attributes(element, "enabled");
                let resume = read.boolean("resume")?;
                Self::Enabled(Enabled {
                    // §5: with `resume` there must be an id; without, it has no use.
                    id: if resume {
                        Some(read.id("id")?)
                    } else {
                        read.id_if_any("id")?
                    },
                    resume,
                    max: read.seconds("max")?,
                    location: read.location("location")?,
                })
            }
            "r" => Self::Request,
            "a" => Self::Ack {
                h: Attributes(element, "a").count("h")?,
            },
            "resume" => {
                let read = Attributes(element, "resume");
                Self::Resume(Resume::new(read.id("previd")?, read.count("h")?))
            }
            "resumed" => {
                let read = Attributes(element, "resumed");
                Self::Resumed(Resumed::new(read.id("previd")?, read.count("h")?))
            }
            "failed" => Self::Failed(Failed {
                condition: condition(element),
                h: Attributes(element, "failed").count_if_any("h")?,
            }),
            _ => return Ok(None),
        }))
    }
}

/// The first condition of RFC 6120 §8.3.3 within.
fn condition(element: &Element) -> Option<StanzaCondition> {
    let tree = element.tree();
    let conditions = tree
        .elements()
        .filter(|child| child.namespace == ns::STANZA_ERRORS);
    conditions
        .filter_map(|child| StanzaCondition::from_name(&child.name))
        .next()
}

/// The attributes of an element of this name.
struct Attributes<'a>(&'a Element, &'static str);

impl Attributes<'_> {
    fn value(&self, name: &str) -> Option<Cow<'_, str>> {
        self.0.attr(name)
    }

    fn missing(&self, attribute: &'static str) -> NonzaError {
        NonzaError::Missing {
            nonza: self.1,
            attribute,
        }
    }

    fn invalid(&self, attribute: &'static str, expected: &'static str) -> NonzaError {
        NonzaError::Invalid {
            nonza: self.1,
            attribute,
            expected,
        }
    }

    /// xs:unsignedInt.
    fn count_if_any(&self, name: &'static str) -> Result<Option<u32>, NonzaError> {
        let Some(value) = self.value(name) else {
            return Ok(None);
        };
        let count = number(collapsed(&value)).and_then(|number| u32::try_from(number).ok());
        let count = count.ok_or_else(|| self.invalid(name, "a number from 0 to 4294967295"))?;
        Ok(Some(count))
    }

    fn count(&self, name: &'static str) -> Result<u32, NonzaError> {
        self.count_if_any(name)?.ok_or_else(|| self.missing(name))
    }

    /// xs:positiveInteger, which has no end. Zero is taken, too: it says that there is no time.
    fn seconds(&self, name: &'static str) -> Result<Option<u32>, NonzaError> {
        let Some(value) = self.value(name) else {
            return Ok(None);
        };
        let seconds =
            number(collapsed(&value)).ok_or_else(|| self.invalid(name, "a number of seconds"))?;
        Ok(Some(u32::try_from(seconds).unwrap_or(u32::MAX)))
    }

    /// xs:boolean, in both spellings (note 1 of the XEP).
    fn boolean(&self, name: &'static str) -> Result<bool, NonzaError> {
        match self.value(name).as_deref().map(collapsed) {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1") => Ok(true),
            Some(_) => Err(self.invalid(name, "true, false, 1 or 0")),
        }
    }

    fn id_if_any(&self, name: &'static str) -> Result<Option<SmId>, NonzaError> {
        match self.value(name).as_deref() {
            None | Some("") => Ok(None),
            Some(id) => match SmId::new(id) {
                Some(id) => Ok(Some(id)),
                None => Err(NonzaError::TooLong {
                    nonza: self.1,
                    attribute: name,
                    limit: SmId::MAX_BYTES,
                }),
            },
        }
    }

    fn id(&self, name: &'static str) -> Result<SmId, NonzaError> {
        self.id_if_any(name)?.ok_or_else(|| self.missing(name))
    }

    fn location(&self, name: &'static str) -> Result<Option<Location>, NonzaError> {
        let Some(value) = self.value(name) else {
            return Ok(None);
        };
        if value.len() > Location::MAX_BYTES {
            return Err(NonzaError::TooLong {
                nonza: self.1,
                attribute: name,
                limit: Location::MAX_BYTES,
            });
        }
        let location = Location::parse(collapsed(&value));
        let location = location.ok_or_else(|| self.invalid(name, "a host and a port"))?;
        Ok(Some(location))
    }
}

/// Without the white space around that these types may have (XML Schema Part 2 §4.3.6).
fn collapsed(value: &str) -> &str {
    value.trim_matches([' ', '\t', '\r', '\n'])
}
