//! Query parameters, each declared once: its name, its type and its description.
//!
//! [`query_parameters!`] declares the parameters of a handler as a struct, and [`Query`] reads it. The OpenAPI
//! description takes the parameters from the types of the handler's arguments ([`Argument`]), so that none can be read
//! without being described; and the compiler warns of a field that no handler uses.
//!
//! Unknown parameters are ignored, an empty one counts as absent, and if one is repeated, the first counts. Errors name
//! the parameter, its value, and what is allowed.

use axum::Extension;
use axum::body::Body;
use axum::extract::{FromRef, FromRequest, FromRequestParts, Path, Request, State, WebSocketUpgrade};
use axum::handler::Handler;
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, Method};
use serde_json::{Map, Value};
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn, ParameterStyle};
use utoipa::openapi::schema::{ObjectBuilder, Schema};
use utoipa::openapi::{RefOr, Required};

use crate::http::error::{ApiError, ApiResult};
use crate::http::json::JsonBody;
use crate::limits::{self, Bounds};

/// The parameters of a request by name, in the order in which they were sent.
pub(crate) struct RawParameters(Vec<(String, RawValue)>);

/// A value before it is parsed.
enum RawValue {
    Text(String),
    /// An array or an object of a JSON body.
    Nested(Value),
}

impl RawParameters {
    async fn of_query<S: Send + Sync>(parts: &mut Parts, state: &S) -> ApiResult<Self> {
        let axum::extract::Query(pairs) =
            axum::extract::Query::<Vec<(String, String)>>::from_request_parts(parts, state)
                .await
                .map_err(|_| ApiError::invalid("the query cannot be read; percent-encode its values"))?;
        Ok(Self::of_pairs(pairs))
    }

    /// The parameters of a query or a form.
    pub(crate) fn of_pairs(pairs: Vec<(String, String)>) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name, RawValue::Text(value))).collect())
    }

    /// The fields of a JSON object; `null` counts as absent.
    fn of_body(fields: Map<String, Value>) -> Self {
        let read = |(name, value)| match value {
            Value::Null => None,
            Value::String(text) => Some((name, RawValue::Text(text))),
            Value::Array(_) | Value::Object(_) => Some((name, RawValue::Nested(value))),
            Value::Bool(_) | Value::Number(_) => Some((name, RawValue::Text(value.to_string()))),
        };
        Self(fields.into_iter().filter_map(read).collect())
    }

    /// A text without the white space around it; none when absent or empty.
    pub(crate) fn text(&self, name: &str) -> ApiResult<Option<&str>> {
        match self.0.iter().find(|(key, _)| key == name) {
            None => Ok(None),
            Some((_, RawValue::Text(text))) => Ok(Some(text.trim()).filter(|text| !text.is_empty())),
            Some((_, RawValue::Nested(_))) => {
                Err(ApiError::invalid(format!("{name}: must be a string, a number, true or false")))
            }
        }
    }

    /// The texts of a repeated parameter, unchanged; empty ones are left out.
    pub(crate) fn texts(&self, name: &str) -> ApiResult<Vec<String>> {
        let texts = self.texts_where(|key| key == name).filter(|text| !text.trim().is_empty());
        bounded(name, texts.map(str::to_owned).collect())
    }

    /// The values of a list: repeated, comma-separated, or both.
    pub(crate) fn list(&self, name: &str) -> ApiResult<Vec<&str>> {
        let texts = self.texts_where(|key| key == name || key.strip_suffix("[]") == Some(name));
        let values = texts.flat_map(|text| text.split(',')).map(str::trim).filter(|value| !value.is_empty());
        bounded(name, values.collect())
    }

    fn texts_where(&self, is_wanted: impl Fn(&str) -> bool) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(move |(key, value)| match value {
            RawValue::Text(text) if is_wanted(key) => Some(text.as_str()),
            _ => None,
        })
    }

    /// The strings of an array in a JSON body.
    pub(crate) fn array(&self, name: &str) -> ApiResult<Vec<String>> {
        let wrong = || ApiError::invalid(format!("{name}: must be an array of strings"));
        match self.0.iter().find(|(key, _)| key == name) {
            None => Ok(Vec::new()),
            Some((_, RawValue::Nested(Value::Array(items)))) => {
                let strings = items.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong));
                bounded(name, strings.collect::<ApiResult<_>>()?)
            }
            Some(_) => Err(wrong()),
        }
    }
}

/// 400 for more values than a query of the catalog takes.
fn bounded<T>(name: &str, values: Vec<T>) -> ApiResult<Vec<T>> {
    match values.len() {
        0..=limits::LIST_VALUES_MAX => Ok(values),
        count => Err(ApiError::invalid(format!(
            "{name}: {count} values are more than {}; split the request",
            limits::LIST_VALUES_MAX
        ))),
    }
}

/// The parameters of a handler, or a group of them. Declared with [`query_parameters!`].
pub(crate) trait QueryParameters: Sized {
    /// Reads each parameter; 400 names the one that is wrong.
    fn read(raw: &RawParameters) -> ApiResult<Self>;

    /// Each parameter for the OpenAPI description, in the order of the declaration.
    fn describe() -> Vec<Parameter>;
}

/// The type of a parameter, which includes what happens when it is absent.
pub(crate) trait ParameterType: Sized {
    /// Reads the parameter with this name.
    fn read(raw: &RawParameters, name: &str) -> ApiResult<Self>;

    /// The allowed values.
    fn schema() -> RefOr<Schema>;

    /// How an array is written: true if the parameter is repeated, false if its values are comma-separated.
    fn is_exploded() -> Option<bool> {
        None
    }
}

/// A value that is written as one text.
pub(crate) trait ParameterValue: Sized {
    /// Parses a text that is not empty. The error names the allowed values; the caller puts the name of the parameter
    /// before it.
    fn parse(text: &str) -> Result<Self, String>;

    /// The allowed values.
    fn schema() -> RefOr<Schema>;
}

impl<T: ParameterValue> ParameterType for Option<T> {
    fn read(raw: &RawParameters, name: &str) -> ApiResult<Self> {
        raw.text(name)?.map(|text| parse_value(name, text)).transpose()
    }

    fn schema() -> RefOr<Schema> {
        T::schema()
    }
}

/// Parses a value; 400 names the parameter.
pub(crate) fn parse_value<T: ParameterValue>(name: &str, text: &str) -> ApiResult<T> {
    T::parse(text).map_err(|error| ApiError::invalid(format!("{name}: {error}")))
}

/// Reads an id of a path; 400 names it.
pub(crate) fn parse_id<T: std::str::FromStr<Err: ToString>>(name: &str, text: &str) -> ApiResult<T> {
    text.parse().map_err(|error: T::Err| ApiError::invalid(format!("{name}: {}", error.to_string())))
}

/// A parameter for the OpenAPI description; `lines` are those of its doc comment.
pub(crate) fn described<T: ParameterType>(name: &str, lines: &[&str]) -> Parameter {
    let text = lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
    let exploded = T::is_exploded();
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .description(Some(text))
        .schema(Some(T::schema()))
        .style(exploded.map(|_| ParameterStyle::Form))
        .explode(exploded)
        .build()
}

/// The schema of a JSON body whose fields are read as these parameters.
pub(crate) fn body_schema(parameters: Vec<Parameter>, lines: &[&str]) -> RefOr<Schema> {
    let text = lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
    let mut object = ObjectBuilder::new().description(Some(text));
    for parameter in parameters {
        let mut schema = parameter.schema.unwrap_or_default();
        match &mut schema {
            RefOr::T(Schema::Object(object)) => object.description = parameter.description,
            RefOr::T(Schema::Array(array)) => array.description = parameter.description,
            _ => {}
        }
        object = object.property(parameter.name, schema);
    }
    object.into()
}

/// Declares parameters as a struct: groups of parameters first, then single ones, each with its name in the request and
/// a doc comment, which is its description.
///
/// ```text
/// query_parameters! {
///     /// Parameters of the audit log.
///     pub(crate) struct AuditQuery {
///         ..page: PageQuery,
///         /// Only actions of this caller.
///         caller_id: Option<String> = "callerId",
///     }
/// }
/// ```
macro_rules! query_parameters {
    (
        $(#[doc = $summary:literal])+
        pub(crate) struct $name:ident {
            $(..$group:ident: $group_type:ty,)*
            $($(#[doc = $text:literal])+ $field:ident: $type:ty = $parameter:literal,)*
        }
    ) => {
        $(#[doc = $summary])+
        pub(crate) struct $name {
            $(pub(crate) $group: $group_type,)*
            $($(#[doc = $text])+ pub(crate) $field: $type,)*
        }

        impl $crate::http::parameters::QueryParameters for $name {
            fn read(raw: &$crate::http::parameters::RawParameters) -> $crate::http::error::ApiResult<Self> {
                Ok(Self {
                    $($group: <$group_type as $crate::http::parameters::QueryParameters>::read(raw)?,)*
                    $($field: <$type as $crate::http::parameters::ParameterType>::read(raw, $parameter)?,)*
                })
            }

            fn describe() -> Vec<utoipa::openapi::path::Parameter> {
                let groups: Vec<Vec<utoipa::openapi::path::Parameter>> =
                    vec![$(<$group_type as $crate::http::parameters::QueryParameters>::describe(),)*];
                let single: Vec<utoipa::openapi::path::Parameter> =
                    vec![$($crate::http::parameters::described::<$type>($parameter, &[$($text),+]),)*];
                groups.into_iter().flatten().chain(single).collect()
            }
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                let parameters = <Self as $crate::http::parameters::QueryParameters>::describe();
                $crate::http::parameters::body_schema(parameters, &[$($summary),+])
            }
        }

        impl utoipa::ToSchema for $name {}
    };
}

pub(crate) use query_parameters;

/// The parameters in the query of a request.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: QueryParameters, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> ApiResult<Self> {
        T::read(&RawParameters::of_query(parts, state).await?).map(Self)
    }
}

/// The parameters in the fields of a JSON body.
pub(crate) struct BodyFields<T>(pub(crate) T);

impl<T: QueryParameters, S: Send + Sync> FromRequest<S> for BodyFields<T>
where
    Bounds: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> ApiResult<Self> {
        let JsonBody(fields) = JsonBody::<Map<String, Value>>::from_request(request, state).await?;
        T::read(&RawParameters::of_body(fields)).map(Self)
    }
}

/// The type of an argument of a handler.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say which query parameters it reads",
    note = "add `impl Argument for {Self} {{}}` if it reads none"
)]
pub(crate) trait Argument {
    /// The query parameters that it reads, for the OpenAPI description.
    fn query_parameters() -> Vec<Parameter> {
        Vec::new()
    }
}

impl<T: QueryParameters> Argument for Query<T> {
    fn query_parameters() -> Vec<Parameter> {
        T::describe()
    }
}

/// Whatever its error is, an argument that may fail reads the same parameters.
impl<T: Argument, E> Argument for Result<T, E> {
    fn query_parameters() -> Vec<Parameter> {
        T::query_parameters()
    }
}

impl Argument for WebSocketUpgrade {}
impl<T> Argument for BodyFields<T> {}
impl<T> Argument for JsonBody<T> {}
impl<T> Argument for Path<T> {}
impl<T> Argument for State<T> {}
impl<T> Argument for Extension<T> {}
impl Argument for Extensions {}
impl Argument for HeaderMap {}
impl Argument for Method {}
impl Argument for Body {}

/// The types of all arguments of a handler, in the form that axum gives them.
pub(crate) trait Arguments {
    /// The query parameters that they read.
    fn query_parameters() -> Vec<Parameter>;
}

impl Arguments for ((),) {
    fn query_parameters() -> Vec<Parameter> {
        Vec::new()
    }
}

macro_rules! arguments {
    ($($argument:ident)+) => {
        impl<Kind, $($argument: Argument),+> Arguments for (Kind, $($argument,)+) {
            fn query_parameters() -> Vec<Parameter> {
                [$($argument::query_parameters()),+].concat()
            }
        }
    };
}

arguments!(A);
arguments!(A B);
arguments!(A B C);
arguments!(A B C D);
arguments!(A B C D E);
arguments!(A B C D E F);
arguments!(A B C D E F G);

/// The query parameters that a handler reads.
pub(crate) fn query_parameters_of<S, H: Handler<T, S>, T: Arguments>(_: H) -> Vec<Parameter> {
    T::query_parameters()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Parameters as in a query.
    pub(crate) fn raw(pairs: &[(&str, &str)]) -> RawParameters {
        RawParameters(
            pairs.iter().map(|(name, value)| ((*name).to_owned(), RawValue::Text((*value).to_owned()))).collect(),
        )
    }

    query_parameters! {
        /// Parameters of a test.
        pub(crate) struct TestQuery {
            /// A name, which
            /// may be long.
            name: Option<String> = "aName",
        }
    }

    #[test]
    fn a_declaration_is_read_and_described() {
        assert_eq!(TestQuery::read(&raw(&[("aName", " x "), ("aName", "y"), ("b", "z")])).unwrap().name.unwrap(), "x");
        assert_eq!(TestQuery::read(&raw(&[("aName", "")])).unwrap().name, None);
        let described = serde_json::to_value(TestQuery::describe()).unwrap();
        let expected = serde_json::json!([{
            "name": "aName", "in": "query", "required": false, "description": "A name, which may be long.",
            "schema": {"type": "string"},
        }]);
        assert_eq!(described, expected);
    }

    #[test]
    fn a_nested_value_is_refused_where_a_text_is_expected() {
        let fields = serde_json::json!({"aName": ["x"]});
        let Value::Object(fields) = fields else { unreachable!() };
        let error = TestQuery::read(&RawParameters::of_body(fields)).err().unwrap();
        assert!(error.message.starts_with("aName: "), "{}", error.message);
    }
}
