"""A store as a static site: pages and data that any web host serves, and that open from a folder too.

`write_site` puts it together; `data_files` writes the data as scripts of packed blocks; `meaning` makes the small
vectors that are searched in the browser. `pages/` is the site's own HTML, JavaScript and CSS. They know nothing of
other formats.
"""
