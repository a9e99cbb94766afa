"""A Scrapy spider that follows the links of a site, served by Twisted in the same process."""

import scrapy
from scrapy import signals
from scrapy.crawler import CrawlerProcess

PAGES = 600
LINKS = 5


def page(number):
    links = range(number * LINKS + 1, number * LINKS + 1 + LINKS)
    items = "".join(f'<li><a href="/{n}">page {n}</a></li>' for n in links if n < PAGES)
    text = "".join(f"<p>Paragraph {n} of page {number}.</p>" for n in range(20))
    return f"<html><title>{number}</title><body>{text}<ul>{items}</ul></body></html>".encode()


def serve():
    from twisted.internet import reactor
    from twisted.web import resource, server

    class Page(resource.Resource):
        isLeaf = True

        def render_GET(self, request):
            return page(int(request.path[1:]))

    site = server.Site(Page())
    site.noisy = False
    return reactor.listenTCP(0, site, interface="127.0.0.1").getHost().port


class Spider(scrapy.Spider):
    name = "links"
    stopwatch = None
    found = 0

    @classmethod
    def from_crawler(cls, crawler, *args, **kwargs):
        spider = super().from_crawler(crawler, *args, **kwargs)
        crawler.signals.connect(spider.closed_, signals.spider_closed)
        return spider

    async def start(self):
        port = serve()
        self.stopwatch.start()
        yield scrapy.Request(f"http://127.0.0.1:{port}/0")

    def parse(self, response):
        self.found += 1
        yield {"title": response.css("title::text").get()}
        yield from response.follow_all(css="a")

    def closed_(self):
        assert self.found == PAGES, self.found
        self.stopwatch.stop(PAGES)


def run(stopwatch):
    settings = {
        "LOG_ENABLED": False,
        "TELNETCONSOLE_ENABLED": False,
        "ROBOTSTXT_OBEY": False,
        "CONCURRENT_REQUESTS_PER_DOMAIN": 8,
        "DOWNLOAD_DELAY": 0,
    }
    process = CrawlerProcess(settings)
    Spider.stopwatch = stopwatch
    process.crawl(Spider)
    process.start()
