/** @type {any} */ (globalThis).SwaggerUIBundle({
  url: "openapi.json",
  domNode: document.getElementById("documentation"),
  deepLinking: true,
  validatorUrl: null, // its badge would send the document's address to swagger.io
});
