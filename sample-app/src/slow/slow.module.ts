import { Module } from '@nestjs/common';
import { SlowController } from './slow.controller';
import { SlowService } from './slow.service';

@Module({ controllers: [SlowController], providers: [SlowService] })
export class SlowModule {}
