"""What `askpro doctor` looks at: one module for each part, each returning findings."""
