// Writes the generated pages of docs/.
// Owns: the list of generated pages. Never touches a page that people write.
// Others may assume: running it twice changes nothing.

import { writeFile } from 'node:fs/promises';
import { errorsPage } from './errors-page.ts';

await writeFile(new URL('../../docs/errors.md', import.meta.url), errorsPage());
