"""Language models as files and as servers: template, folder, merging, engine, endpoints, client."""
