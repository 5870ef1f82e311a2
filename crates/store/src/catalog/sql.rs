//! A query that is put together from parts. Its placeholders are `$1`, `$2`, …, which every catalog reads.

use std::fmt::Display;

use sqlx::any::AnyArguments;
use sqlx::query::{Query, QueryAs, QueryScalar};
use sqlx::{Any, AnyConnection, Arguments, AssertSqlSafe, Encode, FromRow, Type};

/// What one statement of a transaction is executed on.
pub(crate) type Connection = AnyConnection;

/// A text as every catalog keeps it: PostgreSQL takes no NUL, which becomes U+FFFD.
pub(crate) fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// A query in the making.
pub(crate) struct Sql {
    text: String,
    arguments: AnyArguments,
    bound: usize,
}

impl Sql {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), arguments: AnyArguments::default(), bound: 0 }
    }

    /// Adds text of ours, never of a caller.
    pub(crate) fn push(&mut self, text: impl Display) -> &mut Self {
        self.text.push_str(&text.to_string());
        self
    }

    /// Adds a placeholder and the value for it.
    pub(crate) fn push_bind<'t, T: Encode<'t, Any> + Type<Any>>(&mut self, value: T) -> &mut Self {
        self.bound += 1;
        // Texts, numbers and truth values are always encoded; only values of other kinds could fail.
        let added = self.arguments.add(value);
        debug_assert!(added.is_ok());
        let number = self.bound;
        self.push(format_args!("${number}"))
    }

    /// Adds placeholders between commas.
    pub(crate) fn push_list<'t, T: Encode<'t, Any> + Type<Any>>(
        &mut self,
        values: impl IntoIterator<Item = T>,
    ) -> &mut Self {
        for (index, value) in values.into_iter().enumerate() {
            if index > 0 {
                self.push(", ");
            }
            self.push_bind(value);
        }
        self
    }

    pub(crate) fn build_query(self) -> Query<'static, Any, AnyArguments> {
        sqlx::query_with(AssertSqlSafe(self.text), self.arguments)
    }

    pub(crate) fn build_query_as<T: for<'r> FromRow<'r, sqlx::any::AnyRow>>(
        self,
    ) -> QueryAs<'static, Any, T, AnyArguments> {
        sqlx::query_as_with(AssertSqlSafe(self.text), self.arguments)
    }

    pub(crate) fn build_query_scalar<T>(self) -> QueryScalar<'static, Any, T, AnyArguments>
    where
        (T,): for<'r> FromRow<'r, sqlx::any::AnyRow>,
    {
        sqlx::query_scalar_with(AssertSqlSafe(self.text), self.arguments)
    }
}
