"""Validation against an OpenAPI document."""

from typing import Any, NamedTuple

from jsonschema import Draft7Validator, Draft202012Validator  # type: ignore[import-untyped]  # it comes without types


class Operation(NamedTuple):
    """One method of one path."""

    method: str
    path: str
    responses: dict[str, Any]


class Description:
    """A document whose references all point to its own components."""

    def __init__(self, document: Any) -> None:
        self.document = document

    def operation(self, method: str, path: str) -> Operation:
        return Operation(method, path, self.document["paths"][path][method.lower()]["responses"])

    def component(self, name: str) -> dict[str, Any]:
        schema: dict[str, Any] = self.document["components"]["schemas"][name]
        return schema

    def message(self, direction: str, type_: str) -> dict[str, Any]:
        """The component schema of a message type, found as by a client; `direction` is Send or Receive."""
        union = self.component({"Send": "ClientMessage", "Receive": "ServerMessage"}[direction])
        return self.component(union["discriminator"]["mapping"][type_].rpartition("/")[2])

    def faults(self, name: str, value: Any) -> list[str]:
        return self.faults_by({"$ref": f"#/components/schemas/{name}"}, value)

    def faults_by(self, schema: dict[str, Any], value: Any) -> list[str]:
        """The faults of a value by a schema of the document."""
        whole = {"allOf": [schema], "components": self.document["components"]}
        checker = Draft202012Validator.FORMAT_CHECKER
        errors = Draft202012Validator(whole, format_checker=checker).iter_errors(value)
        return [f"{error.json_path}: {error.message[:200]}" for error in errors]


def is_as_described(document: Any, operation: str, message: dict[str, Any]) -> bool:
    """Whether a message is one of those that an operation of an AsyncAPI document names: "receive" or "send"."""

    def holds(reference: dict[str, str]) -> bool:
        name = reference["$ref"].rpartition("/")[2]
        payload = document["components"]["messages"][name]["payload"]
        whole = {"allOf": [payload], "components": document["components"]}
        return bool(Draft7Validator(whole, format_checker=Draft7Validator.FORMAT_CHECKER).is_valid(message))

    return [holds(reference) for reference in document["operations"][operation]["messages"]].count(True) == 1
