//! The hierarchy of runs and the rights in it: environments contain workspaces, workspaces contain tasks.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::word::WordError;
use crate::{EnvironmentId, TaskId, WorkspaceId};

/// An environment, such as development or production.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// ID.
    pub id: EnvironmentId,
    /// Name, unique in the archive.
    pub name: String,
    /// Description.
    pub description: Option<String>,
    /// True for the default environment.
    pub is_default: bool,
}

/// A workspace: tasks that share an owner and rights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workspace {
    /// ID.
    pub id: WorkspaceId,
    /// The environment.
    pub environment: Environment,
    /// Name, unique in the environment.
    pub name: String,
    /// Description.
    pub description: Option<String>,
    /// Name of the owner.
    pub owner: String,
}

/// A task: a job with its settings, that runs again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// ID.
    pub id: TaskId,
    /// The workspace.
    pub workspace: Workspace,
    /// Name.
    pub name: String,
    /// Its version, such as `1.0`.
    pub version: String,
    /// Description.
    pub description: Option<String>,
    /// Tags.
    pub tags: Vec<String>,
}

/// What a caller may do in a workspace. Source: workspace permissions API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Right {
    /// The console's Author. Needed, with `Execute` and `View`, to read run logs.
    Author,
    /// The console's Executor.
    Execute,
    /// The console's Viewer.
    View,
    /// May give rights to others.
    Manage,
    /// May push runs and their logs.
    Publish,
}

impl Right {
    /// Every right.
    pub const ALL: [Self; 5] = [Self::Author, Self::Execute, Self::View, Self::Manage, Self::Publish];
    /// What reading a run log needs. Source: "Fetching run logs periodically", before you begin.
    pub const READ_LOGS: [Self; 3] = [Self::Author, Self::View, Self::Execute];

    /// Its name on the wire, upper case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Author => "AUTHOR",
            Self::Execute => "EXECUTE",
            Self::View => "VIEW",
            Self::Manage => "MANAGE",
            Self::Publish => "PUBLISH",
        }
    }

    /// The console's word for it, as the guides use it.
    pub fn console_name(self) -> &'static str {
        match self {
            Self::Author => "Author",
            Self::Execute => "Executor",
            Self::View => "Viewer",
            Self::Manage => "Manager",
            Self::Publish => "Publisher",
        }
    }
}

/// Case-insensitive; the names used in the console (`Viewer`, `Executor`) are accepted as well.
impl FromStr for Right {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        let named =
            |right: &Self| right.name().eq_ignore_ascii_case(text) || right.console_name().eq_ignore_ascii_case(text);
        Self::ALL
            .into_iter()
            .find(named)
            .ok_or_else(|| WordError::new(text, "author, viewer, executor, manager, publisher"))
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The rights of one caller in one workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rights(u8);

impl Rights {
    /// No right at all.
    pub const NONE: Self = Self(0);
    /// Every right.
    pub const ALL: Self = Self(0b1_1111);

    /// True when `right` is among them.
    pub fn has(self, right: Right) -> bool {
        self.0 & (1 << right as u8) != 0
    }

    /// The first of `needed` that is not among them.
    pub fn missing(self, needed: &[Right]) -> Option<Right> {
        needed.iter().copied().find(|right| !self.has(*right))
    }

    /// The rights one by one, in the order of [`Right::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Right> {
        Right::ALL.into_iter().filter(move |right| self.has(*right))
    }
}

impl FromIterator<Right> for Rights {
    fn from_iter<I: IntoIterator<Item = Right>>(rights: I) -> Self {
        Self(rights.into_iter().fold(0, |bits, right| bits | 1 << right as u8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_right_is_named() {
        let rights: Rights = [Right::View, Right::Author].into_iter().collect();
        assert_eq!(rights.missing(&Right::READ_LOGS), Some(Right::Execute));
        assert_eq!(Rights::ALL.missing(&Right::ALL), None);
        assert_eq!(Rights::ALL.iter().collect::<Rights>(), Rights::ALL);
    }

    #[test]
    fn the_consoles_words_are_read() {
        assert_eq!("viewer".parse(), Ok(Right::View));
        assert_eq!("EXECUTE".parse(), Ok(Right::Execute));
        assert!("OWNER".parse::<Right>().is_err());
    }
}
