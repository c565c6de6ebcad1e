/** Where things are in Prefect's pages; `url` is the server's own address. */

/** Its newer pages: the older ones show a stranger nothing, instead of asking to log in. */
const PAGES = "/v2";

/** The first page. */
export const prefectHome = (url: string): string => `${url}${PAGES}/dashboard`;

/** The runs that wait for a person: the menu of each has *Resume*, which opens the approval's form. */
export const prefectWaiting = (url: string): string => `${url}${PAGES}/runs?state=Suspended`;

/** What can be started: weeks, validations, drills, reports, the cut-over. */
export const prefectDeployments = (url: string): string => `${url}${PAGES}/deployments`;
